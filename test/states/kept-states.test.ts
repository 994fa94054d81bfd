import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../harness/engine-process.ts';
import { KeptStates } from '../../src/states/kept-states.ts';
import { StateStore } from '../../src/states/state-store.ts';
import { noLog } from '../../src/library/no-log.ts';
import type { CheckpointRecord } from '../../src/checkpoint/record.ts';
import type { OpTime } from '../../src/source/position.ts';
import type { StateQuestions, States } from '../../src/worker/protocol.ts';

const at = (increment: number): OpTime => ({ ts: { seconds: 1, increment }, t: 1 });
const KEY = Buffer.alloc(20, 7);
const asked = (dropped: readonly Uint8Array[] = []): StateQuestions => ({
  keys: KEY,
  ends: Uint32Array.of(KEY.length),
  needed: Uint8Array.of(1),
  cuts: [],
  isUnclear: false,
  dropped,
});
const nothing = (): StateQuestions => ({ ...asked(), keys: new Uint8Array(), ends: new Uint32Array() });
/** Of one document, which is its number alone. */
const state = (n: number): States => ({ documents: Uint8Array.of(6, 0, 0, 0, n, 0), ends: Uint32Array.of(6) });
const looked = (kept: KeptStates): number | undefined => {
  const found = kept.look(new Uint8Array(0), asked(), 1_000)!;
  return found.places[0] === 0 && found.bytes.length === 0 ? undefined : found.bytes[found.places[0]! + 4];
};

async function withStates(
  use: (kept: KeptStates, set: { increment: number }, stored: () => number) => Promise<void>,
): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-states-'));
  try {
    await using store = new StateStore({ path, log: noLog });
    const stored = await store.take('all');
    const floor = { increment: 0 };
    const record = { replicaSetId: 'x', namespaces: ['*'] };
    await stored.clear({ ...record, position: at(0) });
    const resume = (): CheckpointRecord => ({ resume: { kind: 'after', ...at(floor.increment) } }) as CheckpointRecord;
    const checkpoints = { durable: resume, flushed: async () => undefined };
    await using kept = new KeptStates(
      { subscription: 'all', stored, checkpoints, maxBytes: 1e9, intervalMs: 5, record, log: noLog },
      at(0),
    );
    await use(kept, floor, () => stored.record!.position.ts.increment);
  } finally {
    await rm(path, { recursive: true });
  }
}

test('a state is looked up where it lies: in memory, and on disk once the checkpoint is behind it, never before', async () => {
  await withStates(async (kept, floor, stored) => {
    assert.equal(looked(kept), undefined);
    kept.put(asked(), state(1), { position: at(5), isOpen: false });
    kept.put(asked(), state(2), { position: at(9), isOpen: false });
    await sleep(100);
    assert.equal(stored(), 0);
    assert.equal(looked(kept), 2);
    floor.increment = 5;
    await sleep(100);
    assert.equal(stored(), 5);
    assert.equal(looked(kept), 2);
    floor.increment = 20;
    await sleep(100);
    assert.equal(stored(), 9);
    assert.equal(kept.size.memoryBytes, 0);
    assert.equal(looked(kept), 2);
  });
});

test('what is of a position that goes on is not stored until it is whole, though the checkpoint is behind it', async () => {
  await withStates(async (kept, floor, stored) => {
    floor.increment = 20;
    kept.put(asked(), state(1), { position: at(5), isOpen: true });
    await sleep(100);
    assert.equal(stored(), 0);
    kept.put(asked(), state(2), { position: at(5), isOpen: true });
    await sleep(100);
    assert.equal(stored(), 0);
    kept.whole();
    await sleep(100);
    assert.equal(stored(), 5);
    assert.equal(looked(kept), 2);
  });
});

test('nothing is known of a collection that is gone, on disk or in memory; what comes behind that is', async () => {
  await withStates(async (kept, floor) => {
    floor.increment = 20;
    kept.put(asked(), state(1), { position: at(5), isOpen: false });
    await sleep(100);
    kept.put({ ...asked([KEY.subarray(0, 16)]), ends: new Uint32Array(), keys: new Uint8Array() }, undefined, {
      position: at(25),
      isOpen: false,
    });
    assert.equal(looked(kept), undefined);
    kept.put(asked(), state(3), { position: at(26), isOpen: false });
    assert.equal(looked(kept), 3);
    floor.increment = 30;
    await sleep(100);
    assert.equal(looked(kept), 3);
    kept.forget('a test');
    assert.equal(looked(kept), undefined);
  });
});

test('what happens elsewhere keeps nothing from being stored, nor the position where it is', async () => {
  await withStates(async (kept, floor, stored) => {
    kept.putDocuments([[KEY, Uint8Array.of(6, 0, 0, 0, 1, 0)]], at(1));
    // Always ahead of the checkpoint on disk.
    let read = 1;
    const elsewhere = setInterval(() => {
      read += 1;
      floor.increment = Math.max(0, read - 5);
      kept.put(nothing(), undefined, { position: at(read), isOpen: false });
    }, 5);
    try {
      await sleep(30);
      const soon = AbortSignal.timeout(10_000);
      await kept.stored(soon);
      assert.ok(!soon.aborted, 'what was put is not stored');
      await until('the position moves on', () => stored() > 20);
      assert.ok(stored() <= floor.increment);
      // Of a transaction that goes on, nothing is done yet.
      clearInterval(elsewhere);
      kept.put(nothing(), undefined, { position: at(read + 10), isOpen: true });
      floor.increment = read + 10;
      await sleep(300);
      assert.equal(stored(), read);
      kept.whole();
      await until('the position moves on', () => stored() === read + 10);
    } finally {
      clearInterval(elsewhere);
    }
  });
});

test('a transaction may leave 256 MiB of states, whatever else is in memory', async () => {
  await withStates(async (kept) => {
    const size = 32 * 2 ** 20 - 1_024;
    const documents = new Uint8Array(size);
    const large = { documents, ends: Uint32Array.of(size) };
    kept.put(asked(), large, { position: at(1), isOpen: false });
    for (let n = 0; n < 8; n++) {
      kept.put(asked(), large, { position: at(2), isOpen: true });
      assert.equal(kept.size.memoryBytes > size, true);
    }
    const key = Uint8Array.from(KEY, (byte) => byte + 1);
    kept.put({ ...asked(), keys: key }, large, { position: at(2), isOpen: true });
    assert.equal(kept.size.memoryBytes, 0);
  });
});
