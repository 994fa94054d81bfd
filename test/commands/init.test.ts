/** `tailrace init` as it is run: from flags, and by answers at a terminal, with the servers there and away. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { check } from '../../src/commands/check.ts';
import { init } from '../../src/commands/init.ts';
import type { InitOptions } from '../../src/commands/init.ts';
import { AtTerminal } from '../harness/at-terminal.ts';
import { until } from '../harness/engine-process.ts';
import { onPath } from '../servers/run.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const NAME = `init_${randomUUID().slice(0, 8)}`;
const NOWHERE = { mongodb: 'mongodb://127.0.0.1:1/?replicaSet=rs0', amqp: 'amqp://127.0.0.1:1' };
const NO_URIS = { MONGODB_URI: '', AMQP_URI: '' };
const noPython = (await onPath('python3')) === undefined;

async function emptyFolder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-init-'));
  t.after(async () => rm(path, { recursive: true, force: true }));
  return path;
}

async function run(file: string, options: Partial<InitOptions>): Promise<{ code: number; said: string }> {
  let said = '';
  const write = (text: string): void => void (said += text);
  const code = await init({ file, force: false, yes: true, json: false, write, ...options });
  return { code, said };
}

describe('tailrace init', () => {
  const servers = useSharedServers();

  test('from flags: the file is accepted by `check`, and it says what it saw of both ends', async (t) => {
    const file = join(await emptyFolder(t), 'tailrace.yaml');
    const { mongo, rabbit } = servers;
    const { code, said } = await run(file, {
      mongodb: mongo.uri,
      amqp: rabbit.uri,
      namespaces: `${NAME}.*`,
      queue: NAME,
    });
    assert.equal(code, 0);
    assert.match(said, /^Wrote .*tailrace\.yaml\.\n/);
    assert.match(said, /ok +replica set \S+, member/);
    assert.match(said, /ok +connected to RabbitMQ/);
    assert.match(said, /Next: `tailrace check -c \S+tailrace\.yaml`, then `tailrace run/);
    let checked = '';
    // Where there is a password in the URI, as in the shared broker's, it comes from the environment.
    for (const [name, uri] of [
      ['MONGODB_URI', mongo.uri],
      ['AMQP_URI', rabbit.uri],
    ] as const) {
      if (!said.includes(name)) continue;
      const before = process.env[name];
      process.env[name] = uri;
      t.after(() => (before === undefined ? delete process.env[name] : (process.env[name] = before)));
    }
    assert.equal(await check({ config: file, write: (text) => void (checked += text) }), 0, checked);
    assert.match(checked, new RegExp(`queue ${NAME}: not there yet, will be declared`));
  });

  test(
    'by answers at a terminal: an empty one takes the default',
    { skip: noPython && 'there is no Python' },
    async (t) => {
      const folder = await emptyFolder(t);
      await using terminal = new AtTerminal(['init'], { cwd: folder, columns: 200, rows: 40, env: NO_URIS });
      for (const [question, answer] of [
        [/MongoDB replica set \[mongodb:\/\/localhost\/\?replicaSet=rs0\] $/, servers.mongo.uri],
        [/RabbitMQ \[amqp:\/\/localhost\] $/, servers.rabbit.uri],
        [/Namespaces, such as .* \[\*\] $/, 'shop.*, !shop.tmp'],
        [/Exchange, .* \[changes\] $/, ''],
      ] as const) {
        await until(`it asks ${question}`, () => question.test(terminal.raw.replaceAll(ERASURE, '')));
        terminal.type(`${answer}\r`);
      }
      assert.equal(await terminal.exit, 0, terminal.shown);
      const text = await readFile(join(folder, 'tailrace.yaml'), 'utf8');
      assert.match(text, /^ {4}namespaces: \['shop\.\*', '!shop\.tmp'\]$/m);
      assert.match(text, /^ {6}exchange: changes /m);
      assert.match(terminal.shown, /Next: `tailrace check`, then `tailrace run`\.$/);
    },
  );

  test('Ctrl-C at a question writes nothing, and exits 130', { skip: noPython && 'there is no Python' }, async (t) => {
    const folder = await emptyFolder(t);
    await using terminal = new AtTerminal(['init'], { cwd: folder, columns: 100, rows: 40 });
    await until('it asks', () => terminal.raw.includes('MongoDB replica set'));
    terminal.type('\x03');
    assert.equal(await terminal.exit, 130, terminal.shown);
    assert.match(terminal.shown, /Nothing was written\.$/);
    await assert.rejects(readFile(join(folder, 'tailrace.yaml')), { code: 'ENOENT' });
  });
});

const ESC = '\x1b';
const ERASURE = new RegExp(`${ESC}\\[[\\d;]*[A-Za-z]`, 'g');

test(
  'ends that are away are said, and stop nothing; a password is in neither the file nor what it says',
  { timeout: 60_000 },
  async (t) => {
    const file = join(await emptyFolder(t), 'mine.yaml');
    const mongodb = 'mongodb://me:hunter2hunter2@127.0.0.1:1/?replicaSet=rs0';
    const { code, said } = await run(file, { ...NOWHERE, mongodb });
    assert.equal(code, 0, said);
    assert.match(said, /It reads MONGODB_URI from the environment, as there is a secret in mongodb:\/\/\(hidden\)@127/);
    assert.match(said, /FAULT +no member could be reached/);
    assert.match(said, /FAULT +.*ECONNREFUSED/);
    const text = await readFile(file, 'utf8');
    assert.match(text, /uri: \$\{MONGODB_URI\}/);
    assert.doesNotMatch(said + text, /hunter2/);
  },
);

test('what is there stays without --force, and nothing is written for what is no configuration', async (t) => {
  const file = join(await emptyFolder(t), 'tailrace.yaml');
  await writeFile(file, 'mine');
  await assert.rejects(run(file, NOWHERE), { code: 'usage', message: /is there already.*--force/ });
  await assert.rejects(run(file, { ...NOWHERE, namespaces: 'shop', force: true }), { code: 'config-invalid' });
  await assert.rejects(run(file, { mongodb: 'http://x', force: true }), { code: 'config-invalid' });
  assert.equal(await readFile(file, 'utf8'), 'mine');
  // Of what only the environment knows there is nothing to look at yet.
  const { said } = await run(file, { mongodb: '${NOT_SET_HERE}', force: true });
  assert.match(said, /It reads NOT_SET_HERE from the environment, where it is not set yet\./);
  assert.match(await readFile(file, 'utf8'), /uri: \$\{NOT_SET_HERE\}/);
});

test('URIs that the environment has are the default, and the file reads them from there', async (t) => {
  const file = join(await emptyFolder(t), 'tailrace.yaml');
  const env = { MONGODB_URI: NOWHERE.mongodb, AMQP_URI: NOWHERE.amqp };
  // With one that is not set nothing is looked at, and waited for.
  const { said } = await run(file, { env, amqp: '${NOT_SET_HERE}' });
  assert.match(said, /It reads MONGODB_URI from the environment, as it is set there\./);
  assert.match(await readFile(file, 'utf8'), /uri: \$\{MONGODB_URI\} .*uri: \$\{NOT_SET_HERE\}\n/s);
  await run(file, { env, mongodb: '${NOT_SET_HERE}', force: true });
  assert.match(await readFile(file, 'utf8'), /uri: \$\{NOT_SET_HERE\} .*uri: \$\{AMQP_URI\}\n/s);
  // One that is empty counts as not set.
  await run(file, { env: { AMQP_URI: '' }, mongodb: '${NOT_SET_HERE}', force: true });
  assert.match(await readFile(file, 'utf8'), /uri: amqp:\/\/localhost\n/);
});

test('--json says it as one object', async (t) => {
  const file = join(await emptyFolder(t), 'tailrace.yaml');
  const { said } = await run(file, { mongodb: '${NOT_SET_HERE}', amqp: 'amqp://me:hunter2hunter2@x', json: true });
  assert.deepEqual(JSON.parse(said), {
    file,
    variables: ['AMQP_URI', 'NOT_SET_HERE'],
    found: [],
    next: `tailrace check -c ${file}`,
  });
});
