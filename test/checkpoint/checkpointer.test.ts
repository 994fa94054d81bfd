import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { Checkpointer } from '../../src/checkpoint/checkpointer.ts';
import type { CheckpointRecord } from '../../src/checkpoint/record.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, recordedLog, temporaryFolder } from './fixtures.ts';

/** Stands in for the disk: remembers what it was asked, and fails or waits when told to. */
class FakeStore {
  readonly puts: { readonly seconds: number }[] = [];
  until: Promise<void> = Promise.resolve();
  flushes = 0;
  fails = false;

  put(records: readonly CheckpointRecord[]): Promise<void> {
    if (this.fails) return Promise.reject(new Error('ENOSPC: no space left on device'));
    this.puts.push({ seconds: records[0]?.resume.ts.seconds ?? 0 });
    return this.until;
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

/** Lets `ms` pass on the mocked clock, one by one, with what each lets run. */
async function pass(t: TestContext, ms: number): Promise<void> {
  for (let i = 0; i < ms; i += 1) {
    t.mock.timers.tick(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a touch is committed within 20 ms, and many touches are few commits', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { store, state, checkpointer } = setUp();
  await pass(t, 50);
  assert.equal(store.puts.length, 0, 'nothing was touched');
  for (state.seconds = 1; state.seconds <= 200; state.seconds += 1) {
    for (let i = 0; i < 1000; i += 1) checkpointer.touch();
    await pass(t, 1);
    const age = state.seconds - (store.puts.at(-1)?.seconds ?? 0);
    assert.ok(age <= 20, `a confirm is ${age} ms old and not committed`);
  }
  assert.ok(store.puts.length >= 9 && store.puts.length <= 20, `${store.puts.length} commits`);
  await pass(t, 20);
  assert.equal(store.puts.at(-1)?.seconds, state.seconds, 'the last touch was not committed');
  await checkpointer.stop();
});

test('what is touched while a commit is under way is in the next one', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { store, state, checkpointer } = setUp();
  let finish = (): void => undefined;
  store.until = new Promise((resolve) => (finish = resolve));
  state.seconds = 1;
  checkpointer.touch();
  await pass(t, 20);
  state.seconds = 2;
  checkpointer.touch();
  await pass(t, 50);
  assert.equal(store.puts.length, 1, 'never two at once');
  finish();
  await pass(t, 20);
  assert.deepEqual(
    store.puts.map(({ seconds }) => seconds),
    [1, 2],
  );
  await checkpointer.stop();
});

test('the disk is awaited once per interval while something changes, and not at all while nothing does', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { store, checkpointer } = setUp(100);
  for (let i = 0; i < 1000; i += 5) {
    checkpointer.touch();
    await pass(t, 5);
  }
  assert.ok(store.flushes >= 7 && store.flushes <= 10, `${store.flushes} flushes in ten intervals`);
  await pass(t, 150);
  const afterBusy = store.flushes;
  await pass(t, 1000);
  assert.equal(store.flushes, afterBusy);
  await checkpointer.stop();
});

test('a failing disk is told, retried, and mends by itself with the newest positions', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { store, log, state, checkpointer } = setUp();
  store.fails = true;
  state.seconds = 1;
  checkpointer.touch();
  await pass(t, 150);
  assert.match(checkpointer.failing ?? '', /ENOSPC/);
  assert.deepEqual(
    log.lines.map((line) => line.split(':')[0]),
    ['error'],
    'said once, not with each try',
  );
  state.seconds = 2;
  store.fails = false;
  await pass(t, 300);
  assert.equal(checkpointer.failing, undefined);
  assert.deepEqual(
    store.puts.map(({ seconds }) => seconds),
    [2],
  );
  await checkpointer.stop();
});

test('after stop nothing is written any more', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { store, checkpointer } = setUp();
  checkpointer.touch();
  await checkpointer.stop();
  checkpointer.touch();
  await pass(t, 50);
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
