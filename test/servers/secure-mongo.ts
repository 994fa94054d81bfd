/** A replica set of one member that insists on TLS, on client certificates and on a login. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import type { Document } from 'mongodb';
import type { Certificates, KeyPair } from './certificates.ts';
import { mongodBinary } from './mongod-binary.ts';
import { freePort } from './ports.ts';
import { reap, reapFolder, spare, spareFolder } from './reaper.ts';
import { killGroup, untilGone } from './run.ts';

export interface SecureMongo extends AsyncDisposable {
  readonly port: number;
  /** Of the user who may do everything. */
  readonly root: MongoClient;
  /** With these options of the URI; without user. */
  uri(options: Readonly<Record<string, string>>, user?: string): string;
}

const ROOT_PASSWORD = 'root-s3cret';

export interface SecureMongoOptions {
  readonly certificates: Certificates;
  /** The server's; the good one where left out. */
  readonly server?: KeyPair;
}

export async function startSecureMongo({
  certificates,
  server = certificates.server,
}: SecureMongoOptions): Promise<SecureMongo> {
  const binary = await mongodBinary();
  if (!('systemBinary' in binary)) throw new Error('a mongod of the machine is needed (MONGOD_BINARY)');
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-secure-mongo-'));
  reapFolder(folder);
  const port = await freePort();
  await mkdir(join(folder, 'data'));
  await writeFile(join(folder, 'key'), randomBytes(48).toString('base64'), { mode: 0o400 });
  const args = ['--dbpath', join(folder, 'data'), '--port', `${port}`, '--bind_ip', '127.0.0.1', '--nounixsocket'];
  const secure = ['--auth', '--keyFile', join(folder, 'key'), '--tlsMode', 'requireTLS'];
  const files = ['--tlsCAFile', certificates.ca, '--tlsCertificateKeyFile', server.both];
  const output = openSync(join(folder, 'output'), 'a');
  // It does not start with an expired certificate of its own, unless it is told that it knows.
  const mongod = spawn(binary.systemBinary, [...args, ...secure, ...files, '--replSet', 'rs0', '--oplogSize', '64'], {
    stdio: ['ignore', output, output],
    detached: true,
  });
  closeSync(output);
  const { pid } = mongod;
  if (pid === undefined) throw new Error(`${binary.systemBinary} cannot be run`);
  reap(pid);
  const ours = { tls: 'true', tlsCAFile: certificates.ca, tlsCertificateKeyFile: certificates.client.both };
  const uri: SecureMongo['uri'] = (options, user) =>
    `mongodb://${user === undefined ? '' : `${user}@`}127.0.0.1:${port}/?${new URLSearchParams(options).toString()}`;
  // Nobody may log in yet, but who comes from this machine may make the first user.
  const any = { ...ours, tlsAllowInvalidHostnames: 'true', directConnection: 'true' };
  let root: MongoClient | undefined;
  const stop = async (): Promise<void> => {
    await root?.close();
    killGroup(pid);
    await untilGone(pid);
    spare(pid);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    spareFolder(folder);
  };
  try {
    {
      await using first = new MongoClient(uri(any), { serverSelectionTimeoutMS: 60_000 });
      const members = [{ _id: 0, host: `127.0.0.1:${port}` }];
      await first.db('admin').command({ replSetInitiate: { _id: 'rs0', members } });
      const isPrimary = (hello: Document): boolean => hello['isWritablePrimary'] === true;
      while (!isPrimary(await first.db('admin').command({ hello: 1 }))) await sleep(50);
      await first.db('admin').command({ createUser: 'root', pwd: ROOT_PASSWORD, roles: ['root'] });
    }
    root = await MongoClient.connect(uri(any, `root:${ROOT_PASSWORD}`));
  } catch (error) {
    const said = await readFile(join(folder, 'output'), 'utf8').catch(() => '');
    await stop();
    throw new Error(`the mongod with TLS did not start: ${said.slice(-2_000)}`, { cause: error });
  }
  return { port, root, uri, [Symbol.asyncDispose]: stop };
}
