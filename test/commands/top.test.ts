/** `tailrace top` at a terminal and without one, over a running engine. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { AtTerminal } from '../harness/at-terminal.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { freePort } from '../servers/ports.ts';
import { onPath } from '../servers/run.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import type { StatusReport } from '../../src/observe/status.ts';

const NAME = `top_${randomUUID().slice(0, 8)}`;
const TOKEN = 'a-token-of-sixteen-and-more';
const noPython = (await onPath('python3')) === undefined;

describe('tailrace top', () => {
  const servers = useSharedServers();

  const config = async (): Promise<object> => ({
    sources: { shop: { uri: servers.mongo.uri } },
    sinks: { rabbit: { uri: servers.rabbit.uri } },
    subscriptions: [
      { name: 'orders', namespaces: [`${NAME}.orders`], to: { exchange: NAME, queues: [] } },
      { name: 'audit', namespaces: [`${NAME}.audit`], to: { file: 'audit.ndjson' } },
    ],
    http: { listen: `127.0.0.1:${await freePort()}`, token: TOKEN },
  });

  test(
    'at a terminal it shows what goes on, second by second, and leaves it as it was',
    { skip: noPython && 'there is no Python' },
    async () => {
      await using place = await EngineFolder.create(await config());
      const engine = place.start();
      await until('it is ready', async () => (await engine.ready()).ok);
      await using terminal = new AtTerminal(['top', '-c', 'tailrace.yaml'], {
        cwd: place.folder,
        columns: 160,
        rows: 40,
      });
      const { screen } = terminal;
      const see = async (what: RegExp): Promise<void> =>
        until(`it shows ${what}`, () => screen.visible.some((line) => what.test(line))).catch((error: unknown) => {
          throw new Error(`${String(error)}:\n${terminal.shown}`);
        });
      await see(/^tailrace \S+ http:\/\/127\.0\.0\.1:\d+ {2}up .* resident .* main thread \d+ % busy/);
      await see(/^ready$/);
      assert.equal(screen.isAlternate, true);
      assert.equal(screen.cursorShown, false);
      const db = servers.client.db(NAME);
      const writing = setInterval(() => void db.collection('audit').insertOne({}), 50);
      try {
        await see(/^audit +shop +flowing +\d+ s +[1-9][\d.]* +[1-9][\d.]*/);
        await see(/^shop +reading +127\.0\.0\.1:\d+ +[1-9]/);
        await db.collection('orders').insertOne({});
        await see(/^orders +1 of \d+ +\d+ s +unroutable +no queue is bound/);
        await see(/^not ready: subscription "orders"/);
        terminal.resize(160, 6);
        await see(/^… \d+ lines more/);
      } finally {
        clearInterval(writing);
      }
      await engine.kill();
      terminal.resize(160, 40);
      await see(/^no news: no answer from an engine at http/);
      terminal.type('q');
      assert.equal(await terminal.exit, 0, terminal.shown);
      assert.equal(screen.isAlternate, false);
      assert.equal(screen.cursorShown, true);
      assert.deepEqual(screen.text, []);
    },
  );

  test('without a terminal it prints one picture; --json prints the status; no engine is an error with its code', async () => {
    await using place = await EngineFolder.create(await config());
    const engine = place.start();
    await until('it is ready', async () => (await engine.ready()).ok);
    const url = await engine.url();
    const { code, stdout } = await place.command('top', '--config', 'tailrace.yaml');
    assert.equal(code, 0);
    assert.match(stdout, /^tailrace .*\nready\n\nSOURCE +STATE[^]*\nshop +reading[^]*\norders +shop +flowing/);
    const json = await place.command('top', '--json', '--url', url, '--token', TOKEN);
    const report = JSON.parse(json.stdout) as StatusReport;
    assert.ok(report.process.residentBytes > 1e7 && report.process.cpuSeconds > 0);
    assert.equal(report.sources['shop']!.state, 'reading');
    // The file of the folder says where it is, and its token.
    const here = await place.command('ctl', 'subscriptions');
    assert.match(here.stdout, /^SUBSCRIPTION[^]*\norders +shop/, here.stderr);
    assert.equal((await place.command('ctl', 'sources', '-c', './tailrace.yaml')).code, 0);
    assert.match((await place.command('top')).stdout, /^tailrace .*\nready\n/);
    const refused = await place.command('top', '--once', '--url', url);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /\[code: api-unauthorized; `tailrace explain api-unauthorized` says more\]/);
    assert.equal(await engine.terminate(), 0);
    const away = await place.command('top', '--once', '--config', 'tailrace.yaml');
    assert.equal(away.code, 1);
    assert.match(
      away.stderr,
      /no answer from an engine at http:\/\/127[^]*`-c`[^]*`--url`[^]*TAILRACE_URL[^]*\[code: api-unreachable/,
    );
  });
});
