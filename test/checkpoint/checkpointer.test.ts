import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Checkpointer } from '../../src/checkpoint/checkpointer.ts';
import type { CheckpointRecord } from '../../src/checkpoint/record.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, recordedLog, temporaryFolder } from './fixtures.ts';

/** Stands in for the disk: says when it was asked, and fails while told to. */
class FakeStore {
  readonly puts: { readonly atMs: number; readonly seconds: number }[] = [];
  flushes = 0;
  fails = false;

  put(records: readonly CheckpointRecord[]): Promise<void> {
    if (this.fails) return Promise.reject(new Error('ENOSPC: no space left on device'));
    this.puts.push({ atMs: performance.now(), seconds: records[0]?.resume.ts.seconds ?? 0 });
    return Promise.resolve();
  }

  flushed(): Promise<void> {
    this.flushes += 1;
    return Promise.resolve();
  }
}

function setUp(intervalMs = 100) {
  const store = new FakeStore();
  const log = recordedLog();
  const state = { seconds: 0 };
  const snapshot = () => [checkpoint('orders', state.seconds)];
  return { store, log, state, checkpointer: new Checkpointer({ store, intervalMs, snapshot, log }) };
}

test('a touch is committed within 20 ms, and many touches are few commits', async () => {
  const { store, state, checkpointer } = setUp();
  const started = performance.now();
  for (state.seconds = 1; performance.now() - started < 200; state.seconds += 1) {
    for (let i = 0; i < 1000; i += 1) checkpointer.touch();
    await sleep(1);
  }
  await sleep(40);
  await checkpointer.stop();
  assert.ok((store.puts[0]?.atMs ?? 0) - started < 20, 'the first was late');
  assert.ok(store.puts.length >= 7 && store.puts.length <= 20, `${store.puts.length} commits`);
  assert.equal(store.puts.at(-1)?.seconds, state.seconds, 'the last touch was not committed');
});

test('the disk is awaited once per interval while something changes, and not at all while nothing does', async () => {
  const { store, checkpointer } = setUp(100);
  const started = performance.now();
  while (performance.now() - started < 450) {
    checkpointer.touch();
    await sleep(5);
  }
  await sleep(150);
  const afterBusy = store.flushes;
  assert.ok(afterBusy >= 3 && afterBusy <= 6, `${afterBusy} flushes`);
  await sleep(250);
  assert.equal(store.flushes, afterBusy);
  await checkpointer.stop();
});

test('a failing disk is told, retried, and mends by itself with the newest positions', async () => {
  const { store, log, state, checkpointer } = setUp();
  store.fails = true;
  state.seconds = 1;
  checkpointer.touch();
  await sleep(150);
  assert.match(checkpointer.failing ?? '', /ENOSPC/);
  assert.deepEqual(
    log.lines.map((line) => line.split(':')[0]),
    ['error'],
    'said once, not with each try',
  );
  state.seconds = 2;
  store.fails = false;
  await sleep(300);
  assert.equal(checkpointer.failing, undefined);
  assert.deepEqual(
    store.puts.map(({ seconds }) => seconds),
    [2],
  );
  await checkpointer.stop();
});

test('after stop nothing is written any more', async () => {
  const { store, checkpointer } = setUp();
  checkpointer.touch();
  await checkpointer.stop();
  checkpointer.touch();
  await sleep(50);
  assert.deepEqual(store.puts, []);
});

test('flush writes what is true now to a real store', async (t) => {
  const path = await temporaryFolder(t);
  const log = recordedLog();
  const store = await CheckpointStore.open({ path, log });
  const checkpointer = new Checkpointer({ store, intervalMs: 500, snapshot: () => [checkpoint('orders', 42)], log });
  checkpointer.touch();
  await checkpointer.flush();
  await checkpointer.stop();
  await store.close();
  await using again = await CheckpointStore.open({ path, log });
  assert.deepEqual(again.get('orders'), checkpoint('orders', 42));
});
