/** `tailrace run` at a terminal, as a person sees it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { connect } from 'amqplib';
import { AtTerminal } from '../harness/at-terminal.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { onPath } from '../servers/run.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const lacking = (await onPath('python3')) === undefined;
const NAME = `terminal_${randomUUID().slice(0, 8)}`;

describe('a run at a terminal', { skip: lacking && 'there is no Python' }, () => {
  const servers = useSharedServers();

  const config = (): object => ({
    sources: { shop: { uri: servers.mongo.uri } },
    sinks: { rabbit: { uri: servers.rabbit.uri } },
    subscriptions: [{ name: 'orders', namespaces: [`${NAME}.*`], to: { exchange: NAME, queues: [] } }],
  });
  const write = async (): Promise<unknown> => servers.client.db(NAME).collection('orders').insertOne({});

  test('it shows what holds it, a bar while it catches up, and then that all is well; afterwards only the log is left', async () => {
    await using place = await EngineFolder.create(config());
    await using terminal = new AtTerminal(['run'], { cwd: place.folder, columns: 240, rows: 24 });
    const { screen } = terminal;
    const last = (): string => screen.visible.slice(-2).join('\n');
    const see = async (what: RegExp): Promise<void> =>
      until(`it shows ${what}`, () => what.test(last())).catch((error: unknown) => {
        throw new Error(`${String(error)}:\n${terminal.shown}`);
      });
    await see(/^shop {2}reading {2}[\d,.]+ read\/s {2}[\d,.]+ sent\/s {2}.* behind {2}.* of oplog in hand$/m);
    // Nobody is bound to the exchange: what is written cannot go anywhere.
    const writing = setInterval(() => void write(), 500);
    try {
      await see(/not ready: subscription "orders": .*unroutable/);
      await see(/^shop {2}catching up {2}\[.{20}\] \d+ % .* behind/m);
      terminal.resize(60, 24);
      await until('its lines are shorter', () => screen.visible.slice(-2).every((line) => line.length < 60));
      terminal.resize(240, 24);
    } finally {
      clearInterval(writing);
    }
    const connection = await connect(servers.rabbit.uri);
    try {
      const channel = await connection.createChannel();
      await channel.assertQueue(NAME, { durable: true });
      await channel.bindQueue(NAME, NAME, '#');
      await until('it is in step again', () => /^shop {2}reading/.test(screen.visible.at(-1) ?? ''));
      await channel.deleteQueue(NAME);
      await channel.deleteExchange(NAME);
    } finally {
      await connection.close();
    }
    terminal.type('\x03');
    assert.equal(await terminal.exit, 0, terminal.shown);
    // Readable, and nothing of the live lines is left, nor lost.
    const lines = screen.text.filter((line) => line !== '^C');
    for (const line of lines) assert.match(line, /^(?:\^C)?\d\d:\d\d:\d\d (?:info|warn|error) /, terminal.shown);
    assert.match(screen.text.join('\n'), /HTTP is listening\. url=http/);
    assert.match(screen.text.at(-1)!, /info {2}Stopped\. exitCode=0$/);
    assert.ok(terminal.raw.includes('\x1b[31merror\x1b[39m A lane is held.'));
  });

  test('--json, --no-live and NO_COLOR: the log as JSON, or without lines below it, or plain', async () => {
    await using place = await EngineFolder.create(config());
    for (const { args, env, line } of [
      { args: ['--json'], env: {}, line: /^\{"level":"info".*"HTTP is listening\."\}$/m },
      { args: ['--no-live'], env: {}, line: /^.\[2m[\d:]{8}.\[22m .*HTTP is listening\./m },
      { args: [], env: { NO_COLOR: '1' }, line: /^[\d:]{8} info {2}HTTP is listening\. url=/m },
    ]) {
      await using terminal = new AtTerminal(['run', ...args], { cwd: place.folder, columns: 240, rows: 24, env });
      await until('it listens', () => terminal.raw.includes('HTTP is listening'));
      await until('it reads', () => /Reading|reads|started/i.test(terminal.raw));
      terminal.type('\x03');
      assert.equal(await terminal.exit, 0, terminal.shown);
      assert.match(terminal.raw.replaceAll('\r', ''), line);
      // It draws over nothing.
      assert.ok(!terminal.raw.includes('\x1b[J'), terminal.raw);
    }
  });
});
