/** Real mongods for the tests of the source. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { MongoClient } from 'mongodb';

const BINARY = process.env['MONGOD_BINARY'] ?? '/tmp/mongod/fiftyone/db/bin/mongod';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export async function startMongo({
  members = 1,
  args = [],
  set = true,
}: { members?: number; args?: string[]; set?: boolean } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'tailrace-source-'));
  const ports = await Promise.all(Array.from({ length: members }, freePort));
  const running = new Map<number, ChildProcess>();
  const start = async (i: number): Promise<void> => {
    const dbpath = join(folder, `m${i}`);
    mkdirSync(dbpath, { recursive: true });
    const child = spawn(
      BINARY,
      [
        '--port',
        `${ports[i]}`,
        '--bind_ip',
        '127.0.0.1',
        '--dbpath',
        dbpath,
        '--logpath',
        join(folder, `m${i}.log`),
        '--logappend',
        '--nounixsocket',
        '--wiredTigerCacheSizeGB',
        '0.25',
        ...(set ? ['--replSet', 'rs0'] : []),
        ...args,
      ],
      { stdio: 'ignore' },
    );
    running.set(i, child);
  };
  const direct = (i: number) => `mongodb://127.0.0.1:${ports[i]}/?directConnection=true`;
  const ping = async (i: number): Promise<void> => {
    for (;;) {
      const client = new MongoClient(direct(i), { serverSelectionTimeoutMS: 500 });
      try {
        await client.db('admin').command({ ping: 1 });
        return;
      } catch {
        await pause(100);
      } finally {
        await client.close();
      }
    }
  };
  for (let i = 0; i < members; i += 1) await start(i);
  for (let i = 0; i < members; i += 1) await ping(i);
  const uri = set ? `mongodb://${ports.map((p) => `127.0.0.1:${p}`).join(',')}/?replicaSet=rs0` : direct(0);
  if (set) {
    const client = new MongoClient(direct(0));
    await client
      .db('admin')
      .command({
        replSetInitiate: {
          _id: 'rs0',
          members: ports.map((p, i) => ({ _id: i, host: `127.0.0.1:${p}` })),
          settings: { electionTimeoutMillis: 2000 },
        },
      });
    await client.close();
    const all = new MongoClient(uri);
    for (;;) {
      try {
        await all
          .db('x')
          .collection('x')
          .insertOne({ a: 1 }, { writeConcern: { w: 'majority' } });
        break;
      } catch {
        await pause(100);
      }
    }
    await all.close();
  }
  const end = async (i: number, signal: NodeJS.Signals): Promise<void> => {
    const child = running.get(i);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  };
  return {
    uri,
    ports,
    direct,
    pid: (i = 0) => running.get(i)!.pid!,
    kill: (i = 0) => end(i, 'SIGKILL'),
    start: async (i = 0) => {
      await start(i);
      await ping(i);
    },
    restart: async (i = 0) => {
      await end(i, 'SIGTERM');
      await start(i);
    },
    stop: async () => {
      for (const i of running.keys()) {
        running.get(i)!.kill('SIGCONT');
        await end(i, 'SIGKILL');
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
