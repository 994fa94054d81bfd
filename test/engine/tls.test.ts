import assert from 'node:assert/strict';
import { copyFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { makeCertificates } from '../servers/certificates.ts';
import type { Certificates, KeyPair } from '../servers/certificates.ts';
import { startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { freePort } from '../servers/ports.ts';
import { startSecureMongo } from '../servers/secure-mongo.ts';
import type { SecureMongo } from '../servers/secure-mongo.ts';

const PASSWORD = 'p@ss:w/rd';
/** Nothing answers there: for what is refused at the other end. */
const NOBODY = 'amqp://127.0.0.1:1';

describe('ends that insist on TLS and on client certificates', () => {
  let pem: Certificates;
  let mongo: SecureMongo;
  let rabbit: RabbitServer;
  let amqps: string;

  before(async () => {
    pem = await makeCertificates();
    const port = await freePort();
    amqps = `amqps://127.0.0.1:${port}`;
    const files = { cacertfile: pem.ca, certfile: pem.server.cert, keyfile: pem.server.key };
    const extraConfig = [
      `listeners.ssl.1 = 127.0.0.1:${port}`,
      ...Object.entries(files).map(([name, path]) => `ssl_options.${name} = ${path}`),
      'ssl_options.verify = verify_peer',
      'ssl_options.fail_if_no_peer_cert = true',
      'auth_mechanisms.1 = PLAIN',
      'auth_mechanisms.2 = EXTERNAL',
      'ssl_cert_login_from = common_name',
    ].join('\n');
    [mongo, rabbit] = await Promise.all([
      startSecureMongo({ certificates: pem }),
      startRabbit({ extraConfig, plugins: ['rabbitmq_auth_mechanism_ssl'] }),
    ]);
    const roles = [
      { role: 'read', db: 'local' },
      { role: 'readAnyDatabase', db: 'admin' },
    ];
    await mongo.root.db('$external').command({ createUser: pem.client.subject, roles });
    await mongo.root.db('admin').command({ createUser: 'reader', pwd: PASSWORD, roles, mechanisms: ['SCRAM-SHA-256'] });
    // No password: it can log in with its certificate only.
    await rabbit.ctl(['add_user', pem.client.commonName, 'x']);
    await rabbit.ctl(['clear_password', pem.client.commonName]);
    await rabbit.ctl(['set_permissions', pem.client.commonName, '.*', '.*', '.*']);
    await rabbit.ctl(['add_user', 'writer', PASSWORD]);
    await rabbit.ctl(['set_permissions', 'writer', '.*', '.*', '.*']);
  });

  after(async () => {
    await Promise.all([mongo?.[Symbol.asyncDispose](), rabbit?.stop()]);
    await pem?.[Symbol.asyncDispose]();
  });

  interface Ends {
    readonly source?: string;
    readonly sink?: object;
  }

  const config = ({ source, sink = { uri: NOBODY } }: Ends, queue = 'secure'): object => ({
    sources: { src: { uri: source } },
    sinks: { mq: sink },
    subscriptions: [{ name: queue, namespaces: [`${queue}.*`], to: { queue } }],
  });

  const x509 = { tls: 'true', replicaSet: 'rs0', authMechanism: 'MONGODB-X509' };

  async function delivers(engine: EngineProcess, queue: string): Promise<void> {
    await until('it is ready', async () => (await engine.ready()).ok);
    await mongo.root.db(queue).collection('c').insertOne({});
    await until('it is delivered', async () => (await countMessages(rabbit.uri, queue)) === 1);
  }

  test('are logged in to with certificates, from files beside the configuration, the key under a passphrase', async () => {
    await using place = await EngineFolder.create({});
    const into = async (path: string, name: string): Promise<string> => {
      await copyFile(path, join(place.folder, name));
      return name;
    };
    await into(pem.ca, 'ca.pem');
    await into(pem.locked.both, 'locked.pem');
    await writeFile(join(place.folder, 'passphrase'), `${pem.locked.passphrase}\n`);
    const files = { tlsCAFile: 'ca.pem', tlsCertificateKeyFile: 'locked.pem' };
    const source = `${mongo.uri({ ...x509, ...files })}&tlsCertificateKeyFilePassword=\${file:passphrase}`;
    const tls = { ca: 'ca.pem', cert: 'locked.pem', key: './locked.pem', passphrase: '${file:passphrase}' };
    const sink = { uri: amqps, tls: { ...tls, login: 'certificate' } };
    await place.configure(config({ source, sink }, 'byfile'));
    // Paths are relative to the file, wherever the command is run.
    const elsewhere = await place.command('check', '-c', join(place.folder, 'tailrace.yaml'));
    assert.equal(elsewhere.code, 0, elsewhere.stdout);
    const engine = place.start();
    await delivers(engine, 'byfile');
    assert.equal(await engine.terminate(), 0);
    assert.doesNotMatch(engine.log() + elsewhere.stdout + elsewhere.stderr, new RegExp(pem.locked.passphrase));
  });

  test('are logged in to with passwords (SCRAM-SHA-256, PLAIN) as well; a new authority is used without a restart', async () => {
    await using place = await EngineFolder.create({});
    const ca = join(place.folder, 'ca.pem');
    await copyFile(pem.ca, ca);
    const secret = encodeURIComponent(PASSWORD);
    const files = { tlsCAFile: pem.ca, tlsCertificateKeyFile: pem.client.both };
    const source = mongo.uri(
      { tls: 'true', replicaSet: 'rs0', authMechanism: 'SCRAM-SHA-256', ...files },
      `reader:${secret}`,
    );
    const sink = {
      uri: amqps.replace('://', `://writer:${secret}@`),
      tls: { ca: 'ca.pem', cert: pem.client.cert, key: pem.client.key },
    };
    await place.configure(config({ source, sink }, 'bypassword'));
    const engine = place.start();
    await delivers(engine, 'bypassword');

    // What would be refused at a start is waited out later.
    await copyFile(pem.otherCa, ca);
    await rabbit.closeConnections('a test');
    await until('it says why', async () =>
      (await engine.ready()).reasons.some((reason) => /signed by nobody this machine trusts/.test(reason)),
    );
    await copyFile(pem.ca, ca);
    await until('it is ready again', async () => (await engine.ready()).ok);
    assert.equal(await engine.terminate(), 0);
  });

  /** All that `run` and then `check` say where the start is refused. */
  async function refusal(ends: Ends, { andCheck = true } = {}): Promise<string> {
    const sound = mongo.uri(
      { tls: 'true', replicaSet: 'rs0', tlsCAFile: pem.ca, tlsCertificateKeyFile: pem.client.both },
      `reader:${encodeURIComponent(PASSWORD)}`,
    );
    await using place = await EngineFolder.create(config({ source: sound, ...ends }));
    const engine = place.start();
    assert.equal(await engine.ended(), 2, engine.log());
    const stdout = andCheck ? (await place.command('check')).stdout : '';
    const said = (JSON.parse(engine.log().split('\n').at(-2)!) as { msg: string }).msg;
    // It has named the source already.
    const there = said.replace(/^source "src": the server/, 'the server');
    assert.ok(!andCheck || stdout.includes(there.slice(0, 70)), `check says less: ${stdout}, run: ${said}`);
    assert.doesNotMatch(engine.log() + stdout, new RegExp(`${pem.locked.passphrase}|wr0ng`));
    return said;
  }

  test('an authority that did not sign the certificate ends a start, and check says the same', async () => {
    const both = pem.client.both;
    const source = mongo.uri({ ...x509, tlsCAFile: pem.otherCa, tlsCertificateKeyFile: both });
    assert.match(await refusal({ source }), /source "src": MongoDB's certificate is signed by nobody .* `tlsCAFile`/);
    const { cert, key } = pem.client;
    const sink = { uri: amqps, tls: { ca: pem.otherCa, cert, key } };
    assert.match(
      await refusal({ sink }),
      /sink "mq": RabbitMQ's certificate is signed by nobody .* `sinks\.mq\.tls\.ca`/,
    );
  });

  test('a certificate for another host, or one that has expired, ends a start', async () => {
    const cases: [KeyPair, RegExp][] = [
      [pem.elsewhere, /certificate is for another host than the URI names/],
      [pem.expired, /certificate is not valid any more/],
    ];
    for (const [pair, expected] of cases) {
      // Whoever checks it goes no further, so that anything may be behind it.
      const server = createServer({ cert: readFileSync(pair.cert), key: readFileSync(pair.key) });
      server.on('tlsClientError', () => {});
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      try {
        const options = new URLSearchParams({ tls: 'true', replicaSet: 'rs0', tlsCAFile: pem.ca });
        assert.match(await refusal({ source: `mongodb://127.0.0.1:${port}/?${options.toString()}` }), expected);
        assert.match(await refusal({ sink: { uri: `amqps://127.0.0.1:${port}`, tls: { ca: pem.ca } } }), expected);
      } finally {
        server.close();
      }
    }
  });

  test('a certificate of ours that is missing or cannot be used ends a start; mongod alone does not say why', async () => {
    const { cert, key } = pem.client;
    const quick = { andCheck: false };
    const sinkWith = (tls: object): Ends => ({ sink: { uri: amqps, tls: { ca: pem.ca, ...tls } } });
    assert.match(await refusal(sinkWith({})), /RabbitMQ wants a certificate of ours.* `sinks\.mq\.tls\.cert`/);
    assert.match(await refusal(sinkWith({ cert, key: pem.locked.key, passphrase: 'wr0ng' })), /a wrong passphrase/);
    assert.match(await refusal(sinkWith({ cert, key: pem.server.key }), quick), /a key that is another certificate's/);
    assert.match(
      await refusal(sinkWith({ cert: './none.pem', key }), quick),
      /`sinks.mq.tls.cert` cannot be read: ENOENT.*none\.pem/,
    );
    const locked = { tlsCertificateKeyFile: pem.locked.both, tlsCertificateKeyFilePassword: 'wr0ng' };
    assert.match(await refusal({ source: mongo.uri({ ...x509, tlsCAFile: pem.ca, ...locked }) }), /a wrong passphrase/);

    await using place = await EngineFolder.create(
      config({ source: mongo.uri({ tls: 'true', replicaSet: 'rs0', tlsCAFile: pem.ca }) }),
    );
    const engine = place.start();
    await until('it says what may be missing', () => /may want a certificate of ours/.test(engine.log()));
    assert.equal(await engine.terminate(), 0);
  });

  test('a certificate that nobody has a user for is refused as credentials are', async () => {
    await mongo.root.db('$external').command({ dropUser: pem.client.subject });
    await rabbit.ctl(['delete_user', pem.client.commonName]);
    const { cert, key, both } = pem.client;
    const source = mongo.uri({ ...x509, tlsCAFile: pem.ca, tlsCertificateKeyFile: both });
    assert.match(await refusal({ source }), /source "src": the server refuses the credentials .*CN=tailrace/);
    const sink = { uri: amqps, tls: { ca: pem.ca, cert, key, login: 'certificate' } };
    assert.match(await refusal({ sink }), /refused the login by certificate.*rabbitmq_auth_mechanism_ssl/);
  });
});
