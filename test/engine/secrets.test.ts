/**
 * Secrets are in nothing that is written or answered: whatever goes well or wrong, at the most talkative level, each place where one
 * can be configured holds one that is easy to find.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { stringify } from 'yaml';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { mongodBinary } from '../servers/mongod-binary.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
/** In each secret, once at least, also as URIs write it. */
const MARK = 'S3CRET';
const PASSWORD = `${MARK}"p@ss:w/rd\\ü`;
const ENCODED = encodeURIComponent(PASSWORD);
const ROOT = 'not-looked-for';

describe('secrets stay secret', () => {
  let mongod: MongoMemoryReplSet;
  let rabbit: RabbitServer;
  let mongoUri: string;
  let amqpUri: string;

  before(async () => {
    const auth = { enable: true, customRootName: 'root', customRootPwd: ROOT };
    const replSet = { name: 'rs0', count: 1, storageEngine: 'wiredTiger' as const, auth };
    [mongod, rabbit] = await Promise.all([
      MongoMemoryReplSet.create({ binary: await mongodBinary(), replSet }),
      startRabbit(),
    ]);
    const host = `127.0.0.1:${mongod.servers[0]!.instanceInfo!.port}`;
    await using root = await MongoClient.connect(`mongodb://root:${ROOT}@${host}/?replicaSet=rs0`);
    await root.db('admin').command({ createUser: 'reader', pwd: PASSWORD, roles: ['root'] });
    mongoUri = `mongodb://reader:${ENCODED}@${host}/?replicaSet=rs0`;
    await rabbit.ctl(['add_user', 'writer', PASSWORD]);
    await rabbit.ctl(['set_permissions', 'writer', '.*', '.*', '.*']);
    amqpUri = rabbit.uri.replace('://', `://writer:${ENCODED}@`);
  });

  after(async () => {
    await Promise.all([mongod?.stop(), rabbit?.stop()]);
  });

  const config = (source = mongoUri, sink: object = { uri: amqpUri }, more: object = {}): object => ({
    sources: { src: { uri: source } },
    sinks: { mq: sink },
    subscriptions: [
      {
        name: 'all',
        namespaces: ['a.*'],
        mask: [{ fields: ['ssn'], hash: { key: '${file:./hash-key}' } }],
        to: { queue: 'secrets' },
      },
    ],
    log: { level: 'trace' },
    ...more,
  });

  async function placeFor(content: object): Promise<EngineFolder> {
    const place = await EngineFolder.create(content);
    await writeFile(join(place.folder, 'hash-key'), `${MARK}-hash-key-of-32-characters-or-more\n`);
    return place;
  }

  const innocent = (what: string, ...texts: readonly string[]): void => {
    for (const text of texts) {
      const at = text.indexOf(MARK);
      assert.equal(at, -1, `${what}: …${text.slice(Math.max(0, at - 200), at + 60)}…`);
      assert.ok(!text.includes('p@ss:w'), what);
    }
  };

  test('while all is well, and when both ends have been away', async () => {
    await using place = await placeFor(config());
    const engine = place.start();
    await until('it is ready', async () => (await engine.ready()).ok);
    const [, url] = /"url":"(http:[^"]+)"/.exec(engine.log())!;
    const answers = async (): Promise<string[]> =>
      Promise.all(
        ['/status', '/metrics', '/readyz', '/healthz', '/nowhere'].map(async (path) =>
          (await fetch(url + path)).text(),
        ),
      );
    innocent('answers', ...(await answers()));
    await rabbit.ctl(['change_password', 'writer', 'another']);
    await rabbit.closeConnections(`closed for a test`);
    await until('it is refused', async () => !(await engine.ready()).ok && /refused the user/.test(engine.log()));
    innocent('answers while refused', ...(await answers()));
    await rabbit.ctl(['change_password', 'writer', PASSWORD]);
    await until('it is ready again', async () => (await engine.ready()).ok);
    const check = await place.command('check');
    innocent('check', check.stdout, check.stderr);
    assert.equal(await engine.terminate(), 0);
    for (const command of [
      ['checkpoint', 'show'],
      ['checkpoint', 'show', '--json'],
      ['parked', 'list'],
    ]) {
      const { stdout, stderr } = await place.command(...command);
      innocent(command.join(' '), stdout, stderr);
    }
    innocent('log', engine.log());
  });

  test('when a start is refused, or never comes to anything', async () => {
    const wrong = `${MARK}-wr0ng`;
    const nowhere = `mongodb://u:${wrong}@127.0.0.1:1/?replicaSet=rs0`;
    const x509 = `${nowhere}&tls=true&tlsCertificateKeyFile=hash-key&tlsCertificateKeyFilePassword=${wrong}`;
    const tls = { cert: 'hash-key', key: 'hash-key', passphrase: wrong };
    const cases: [string, object][] = [
      ['a wrong password of the source', config(mongoUri.replace(ENCODED, wrong))],
      ['a wrong password of the sink', config(mongoUri, { uri: amqpUri.replace(ENCODED, wrong) })],
      ['a password that is not encoded', config(`mongodb://u:${MARK}/@x@h/?replicaSet=rs0`)],
      ['an unknown option', config(`${mongoUri}&nope=${MARK}`)],
      [
        'a mechanism without its properties',
        config(`${mongoUri}&authMechanism=GSSAPI&authMechanismProperties=${MARK}`),
      ],
      ['a virtual host that is not there', config(mongoUri, { uri: `${amqpUri}/nowhere` })],
      ['nobody there', config(nowhere, { uri: `amqp://u:${wrong}@127.0.0.1:1` })],
      ['no such host', config(`mongodb+srv://u:${wrong}@none.invalid/`, { uri: `amqp://u:${wrong}@none.invalid` })],
      ['a key that is none, for the source', config(x509)],
      ['a key that is none, for the sink', config(mongoUri, { uri: amqpUri.replace('amqp:', 'amqps:'), tls })],
      ['TLS to who does not speak it', config(mongoUri, { uri: amqpUri.replace('amqp:', 'amqps:') })],
      [
        'a setting that is none',
        config(mongoUri, { uri: amqpUri, window: '${file:hash-key}', declare: `amqp://u:${MARK}@h` }),
      ],
      ['a URI that is none', config(`${MARK}://u:${MARK}@h`, { uri: [`amqp://u:${MARK}@h`] })],
      ['a placeholder that is none', config(`\${NO_SUCH}${MARK}`)],
    ];
    await using place = await placeFor({});
    for (const [what, content] of cases) {
      await place.configure(content);
      const engine = place.start();
      let over = false;
      void engine.exit.then(() => (over = true));
      // Those that go on trying have said by then what they have to say.
      const end = Date.now() + 1_500;
      await until('it ends, or has tried', () => over || (Date.now() > end && /again|trying/.test(engine.log())));
      if (!over) await engine.kill();
      innocent(what, engine.log());
    }
  });

  test('by the commands that take a URI, or are called wrongly', async () => {
    await using place = await placeFor({});
    const uri = `mongodb://u:${MARK}@127.0.0.1:1`;
    for (const args of [
      ['tail', `${uri}/?nope=${MARK}`],
      ['tail', `postgres://u:${MARK}@h`],
      ['tail', `u:${MARK}@h`],
      ['tail', uri, '--format', 'none'],
      [uri],
      ['run', uri],
      ['check', '-c', uri],
      ['tial', uri],
    ]) {
      const { stdout, stderr } = await place.command(...args);
      innocent(args[0]!, stdout, stderr);
    }
    await place.configure(config(`${mongoUri}&nope=1`, { uri: amqpUri.replace('127.0.0.1', 'none.invalid') }));
    const { stdout, stderr } = await place.command('check');
    innocent('check', stdout, stderr);
    await writeFile(join(place.folder, 'tailrace.yaml'), `sources: { src: { uri: mongodb://u:${MARK}@h ]`);
    innocent('no YAML', (await place.command('check')).stderr);
  });

  test('in the report of a crash', async () => {
    await using place = await placeFor(config());
    await writeFile(join(place.folder, 'tailrace.yaml'), stringify(config()));
    // What a driver's error may hold: what it was given, as it was written and as it was meant.
    const thrown =
      `Object.assign(new Error(${JSON.stringify(`cannot parse ${mongoUri}`)}, { cause: new Error(${JSON.stringify(PASSWORD)}) }), ` +
      `{ options: { password: ${JSON.stringify(PASSWORD)}, uri: ${JSON.stringify(amqpUri)} } })`;
    for (const crash of [`throw ${thrown}`, `Promise.reject(${thrown})`]) {
      // Once the configuration is loaded.
      const code = `setTimeout(() => { ${crash} }, 1500);`;
      const preload = join(place.folder, 'crash.mjs');
      await writeFile(preload, code);
      const child = spawn(process.execPath, ['--import', preload, CLI, 'run'], { cwd: place.folder });
      let said = '';
      for (const out of [child.stdout, child.stderr])
        out.setEncoding('utf8').on('data', (text: string) => (said += text));
      const ended = await new Promise((resolve) => child.once('close', resolve));
      assert.equal(ended, 1, said);
      assert.match(said, /cannot parse mongodb:\/\/\(hidden\)@127/);
      innocent('crash', said);
    }
  });
});
