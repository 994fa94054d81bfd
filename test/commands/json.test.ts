/** `--json`: one object on standard output, whatever the command, whether it does what was asked or not. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, configured, parked, recordedLog } from '../checkpoint/fixtures.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');
const log = recordedLog();

interface Said {
  readonly code: number | null;
  readonly said: Record<string, unknown>;
  readonly stderr: string;
}

/** What it says is one JSON document, or this throws. */
async function tailrace(...args: string[]): Promise<Said> {
  const child = spawn(process.execPath, ['--import', TSX, CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    return { code, said: JSON.parse(stdout) as Record<string, unknown>, stderr };
  } catch (cause) {
    throw new Error(`no JSON document: ${stdout}\n${stderr}`, { cause });
  }
}

async function stopped(t: TestContext): Promise<string> {
  const config = await configured(t);
  const path = join(config, '..', 'data');
  await using store = await CheckpointStore.open({ path, log });
  await store.put([checkpoint('orders', 1_795_327_615)]);
  await using parking = await ParkingStore.open({ path, log, maxBytes: 1e6 });
  const { signal } = new AbortController();
  await parking.put(parked('shop:1795327615.2.0'), signal);
  await parking.put(parked('shop:1795327615.3.0', { reason: 'too-large' }), signal);
  return config;
}

test('what commands have done, and what they would do, as one object', { timeout: 180_000 }, async (t) => {
  const config = await stopped(t);
  const ask = async (...args: string[]): Promise<Record<string, unknown>> => {
    const { code, said, stderr } = await tailrace(...args, '--json', '-c', config);
    assert.deepEqual([code, stderr], [0, ''], args.join(' '));
    return said;
  };
  const counts = [
    { events: 1, subscription: 'orders', reason: 'undecodable' },
    { events: 1, subscription: 'orders', reason: 'too-large' },
  ];
  assert.deepEqual(await ask('parked', 'drop', '--dry-run'), { dryRun: true, asked: 2, dropped: 0, counts });
  assert.deepEqual(await ask('parked', 'drop', '--yes', '--reason', 'too-large'), {
    dryRun: false,
    asked: 1,
    dropped: 1,
    counts: counts.slice(1),
  });
  const replay = await ask('parked', 'replay', '--dry-run', '--reason', 'too-large');
  assert.deepEqual(replay, { dryRun: true, asked: 0, replayed: 0, kept: [], untouched: 0 });
  assert.deepEqual(await ask('checkpoint', 'restore'), { restored: false });
  assert.deepEqual(await ask('checkpoint', 'set', 'orders', '1795327999:1', '--yes'), {
    subscription: 'orders',
    changed: true,
    from: '1795327615:4294967295',
    to: '1795327999:2',
    effect: 'skipped',
    isInSource: null,
  });
  const { gaps } = (await ask('checkpoint', 'show')) as { gaps: { reason: string }[] };
  assert.deepEqual(
    gaps.map(({ reason }) => reason),
    ['skipped'],
  );
  assert.deepEqual(await ask('checkpoint', 'forget', 'orders', '--yes'), {
    subscription: 'orders',
    changed: true,
    from: '1795327999:1',
    start: 'latest',
  });
  assert.deepEqual(((await ask('checkpoint', 'show')) as { subscriptions: unknown[] }).subscriptions, []);
});

test('what `check` found, end by end; it exits as it does without', { timeout: 60_000 }, async (t) => {
  const { code, said } = await tailrace('check', '--json', '-c', await configured(t));
  assert.equal(code, 2);
  assert.deepEqual([said['ok'], said['faults']], [false, 1]);
  const found = said['found'] as { at: string; findings: { kind: string; text: string }[] }[];
  assert.deepEqual(
    found.map(({ findings }) => findings.map(({ kind }) => kind)),
    // The file, the data folder, the port, and the source that nobody answers for.
    [['ok'], ['ok'], ['ok'], ['fault']],
  );
  assert.match(found[3]!.findings[0]!.text, /no member could be reached/);
});

test('an error is an object too, with its code, what happened, and the next step out of its page', async () => {
  const page = await readFile(new URL('../../docs/errors/config-invalid.md', import.meta.url), 'utf8');
  for (const args of [
    ['check', '--json', '-c', '/nowhere/tailrace.yaml'],
    ['parked', 'list', '--json', '-c', '/nowhere/tailrace.yaml'],
  ]) {
    const { code, said, stderr } = await tailrace(...args);
    assert.deepEqual([code, stderr], [2, '']);
    const error = said['error'] as Record<string, string>;
    assert.equal(error['code'], 'config-invalid');
    assert.match(error['message']!, /there is no configuration file \/nowhere\/tailrace\.yaml/);
    assert.ok(error['next']!.length > 20 && page.includes(error['next']!));
    assert.equal(error['explain'], 'tailrace explain config-invalid');
  }
});

test('so is a command line that cannot be understood, and an engine that cannot be asked', async () => {
  for (const [args, exitCode, code, message] of [
    [['check', '--json', '--what'], 2, 'usage', /^unknown option '--what'/],
    [['explain', 'held-nackd', '--json'], 2, 'usage', /did you mean "held-nacked"/],
    [['ctl', 'sources', '--json', '--url', 'http://127.0.0.1:1'], 1, 'api-unreachable', /no answer from an engine/],
    [['top', '--json', '--url', 'http://127.0.0.1:1'], 1, 'api-unreachable', /no answer from an engine/],
  ] as const) {
    const asked = await tailrace(...args);
    assert.deepEqual([asked.code, asked.stderr], [exitCode, ''], args.join(' '));
    const error = asked.said['error'] as Record<string, string>;
    assert.equal(error['code'], code);
    assert.match(error['message']!, message);
  }
});

test('a code is explained in its parts', async () => {
  const { code, said } = await tailrace('explain', 'held-nacked', '--json');
  assert.equal(code, 0);
  assert.deepEqual(Object.keys(said), ['code', 'title', 'why', 'whatToDo', 'meanwhile', 'lostOrRepeated']);
  for (const part of Object.values(said)) assert.ok(typeof part === 'string' && part.length > 5);
});
