/** What systemd would hear, at a real unix datagram socket; and the unit, as systemd's own tools see it. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { tellServiceManager } from '../../src/commands/service-manager.ts';
import type { EmbeddedEngine } from '../../src/index.ts';
import { noLog } from '../../src/library/no-log.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { onPath } from '../servers/run.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const exec = promisify(execFile);
const RECEIVER = fileURLToPath(new URL('notify-socket.py', import.meta.url));
const UNIT = fileURLToPath(new URL('../../deploy/systemd/tailrace.service', import.meta.url));
const WATCHDOG_MS = 1_500;
/** Of 100, as `systemd-analyze security` counts. */
const MOST_EXPOSED = 15;
const NOTHING_LISTENS = 'mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=500';

const lacking = (await onPath('systemd-notify')) === undefined || (await onPath('python3')) === undefined;

interface Receiver extends AsyncDisposable {
  /** What has been said so far, one assignment each. */
  readonly said: string[];
  readonly env: Record<string, string>;
}

async function receive(): Promise<Receiver> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-notify-'));
  const path = join(folder, 'socket');
  const child = spawn('python3', [RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  await once(lines, 'line');
  const said: string[] = [];
  lines.on('line', (line) => said.push(...(JSON.parse(line) as string).trim().split('\n')));
  return {
    said,
    env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: String(WATCHDOG_MS * 1_000) },
    async [Symbol.asyncDispose]() {
      child.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describe('a run under systemd', { skip: lacking && 'there is no systemd-notify, or no Python' }, () => {
  let mongo: Shared;
  before(async () => {
    mongo = await sharedMongo();
  });
  after(async () => mongo?.stop());

  const config = (uri: string): object => ({
    sources: { shop: { uri } },
    subscriptions: [{ name: 'orders', namespaces: ['notify.*'], to: { file: 'out.ndjson' } }],
  });

  test('it hears when the engine is ready, that it lives, how it is, and that it stops', async () => {
    await using receiver = await receive();
    const { said, env } = receiver;
    await using place = await EngineFolder.create(config(mongo.uri));
    const engine = place.start([], env);
    await until('READY=1 is said', () => said.includes('READY=1'));
    assert.equal((await engine.ready()).ok, true);
    await until('it is said how it is', () => said.some((one) => /^STATUS=Delivering 1 subscription, \d+ s/.test(one)));
    const beats = (): number => said.filter((one) => one === 'WATCHDOG=1').length;
    const before = beats();
    await until('the watchdog is kept quiet', () => beats() >= before + 3);
    assert.equal(await engine.terminate(), 0);
    await until('STOPPING=1 is said', () => said.includes('STOPPING=1'));
    assert.equal(said.filter((one) => one === 'READY=1').length, 1);
    assert.doesNotMatch(engine.log(), /notify-failed/);
  });

  test('one that waits for MongoDB is not ready, says why, and asks for more time', async () => {
    await using receiver = await receive();
    const { said, env } = receiver;
    await using place = await EngineFolder.create(config(NOTHING_LISTENS));
    const engine = place.start([], env);
    await until('it asks for more time', () => said.filter((one) => /^EXTEND_TIMEOUT_USEC=\d+$/.test(one)).length >= 2);
    assert.ok(
      said.some((one) => one.startsWith('STATUS=Not ready: source "shop" is connecting')),
      said.join('\n'),
    );
    assert.equal(await engine.terminate(), 0);
    await until('STOPPING=1 is said', () => said.includes('STOPPING=1'));
    assert.ok(!said.includes('READY=1'));
  });

  test('one whose main thread stands still is not heard of', async () => {
    await using receiver = await receive();
    const { said, env } = receiver;
    await using place = await EngineFolder.create(config(mongo.uri));
    const engine = place.start([], env);
    await until('READY=1 is said', () => said.includes('READY=1'));
    process.kill(engine.pid, 'SIGSTOP');
    // What was on its way is through by then.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { length } = said;
    await new Promise((resolve) => setTimeout(resolve, 2 * WATCHDOG_MS));
    assert.equal(said.length, length);
  });

  test('without a systemd-notify it is warned of once, and runs', async () => {
    await using receiver = await receive();
    await using place = await EngineFolder.create(config(mongo.uri));
    const engine = place.start([], { ...receiver.env, PATH: '/nowhere' });
    await until('it is ready', async () => (await engine.ready()).ok);
    await until('it is warned of', () => /"code":"notify-failed"/.test(engine.log()));
    await new Promise((resolve) => setTimeout(resolve, WATCHDOG_MS));
    assert.equal(await engine.terminate(), 0);
    assert.equal(engine.log().match(/"code":"notify-failed"/g)?.length, 1);
    assert.deepEqual(receiver.said, []);
  });

  test('an engine that only a restart mends keeps no watchdog quiet; words of a server cannot say anything else', async () => {
    await using receiver = await receive();
    const stop = new AbortController();
    const stuckSince = performance.now() - 3_600_000;
    const engine = {
      health: () => ({
        sources: [{ name: 'shop', state: 'reconnecting', trouble: 'it says\nREADY=1\nand more' }],
        sinks: [],
        subscriptions: [],
        checkpoint: {},
        parking: {},
        workers: { oldestJobAt: stuckSince, lastResultAt: stuckSince },
      }),
      status: () => ({}),
    } as unknown as EmbeddedEngine;
    const env = { ...process.env, ...receiver.env };
    await using _telling = tellServiceManager({ engine, log: noLog, env, stop: stop.signal });
    await until('it is said why', () => receiver.said.some((one) => one.startsWith('STATUS=Not ready')));
    await new Promise((resolve) => setTimeout(resolve, WATCHDOG_MS));
    assert.deepEqual(
      receiver.said.filter((one) => !one.startsWith('BARRIER')),
      ['STATUS=Not ready: source "shop" is reconnecting: it says READY=1 and more'],
    );
    stop.abort();
  });
});

test("the unit holds before systemd's own tools", async (t) => {
  if ((await onPath('systemd-analyze')) === undefined) return t.skip('there is no systemd-analyze');
  const verified = await exec('systemd-analyze', ['verify', '--man=no', UNIT]).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  const said = `${verified.stdout}${verified.stderr}`.split('\n').filter((line) => line.includes('tailrace.service'));
  // Whether this machine has that Node is not what is tried.
  assert.deepEqual(
    said.filter((line) => !line.includes('Command /usr/bin/node is not executable')),
    [],
  );
  const look = ['security', '--offline=true', `--threshold=${MOST_EXPOSED}`, '--no-pager', UNIT];
  const { stdout } = await exec('systemd-analyze', look);
  t.diagnostic(stdout.split('\n').find((line) => line.includes('Overall')) ?? '');
});
