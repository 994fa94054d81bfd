import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../harness/engine-process.ts';
import { StateStore } from '../../src/states/state-store.ts';
import { noLog } from '../../src/library/no-log.ts';
import type { StatesRecord } from '../../src/states/state-store.ts';

const DOCUMENTS = 50_000;
const GONE = Buffer.alloc(16, 7);
const OTHER = Buffer.alloc(16, 8);
const STATE = Buffer.alloc(100, 1);

const record = (increment: number): StatesRecord => ({
  position: { ts: { seconds: 1, increment }, t: 1 },
  replicaSetId: 'x',
  namespaces: ['*'],
});

function keyOf(uuid: Buffer, n: number): Buffer {
  const key = Buffer.concat([uuid, Buffer.of(16, 0, 0, 0, 0)]);
  key.writeInt32LE(n, 17);
  return key;
}

const statesOf = (uuid: Buffer, from: number, to: number): Map<string, Buffer> =>
  new Map(
    Array.from({ length: to - from }, (_, n): [string, Buffer] => [keyOf(uuid, from + n).toString('latin1'), STATE]),
  );

async function withStore(use: (open: () => StateStore) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-states-'));
  try {
    await use(() => new StateStore({ path, log: noLog }));
  } finally {
    await rm(path, { recursive: true });
  }
}

const dropped = [GONE.toString('latin1')];

test('what a large collection left that is gone is deleted beside all else; nobody sees it, or waits for it', async (t) => {
  await withStore(async (open) => {
    {
      await using store = open();
      await using stored = await store.take('all');
      await stored.write(statesOf(GONE, 0, DOCUMENTS), record(1));
      await stored.write(statesOf(OTHER, 0, 1), { ...record(2), dropped });
      assert.ok(stored.documents > DOCUMENTS / 2, `${stored.documents} are left`);
      assert.equal(stored.get(keyOf(GONE, DOCUMENTS - 1)), undefined);
      assert.equal(stored.has(keyOf(GONE, DOCUMENTS - 1)), false);
      assert.ok(stored.has(keyOf(OTHER, 0)));
    }
    await using store = open();
    await using stored = await store.take('all');
    t.diagnostic(`${stored.documents} were left at the end`);
    assert.ok(stored.documents > DOCUMENTS / 2, `${stored.documents} are left`);
    assert.equal(stored.get(keyOf(GONE, DOCUMENTS - 1)), undefined);
    await until('all is deleted', () => stored.documents === 1);
    assert.ok(stored.has(keyOf(OTHER, 0)));
  });
});

test('of a collection that was gone and is there again only what came since is kept', async () => {
  await withStore(async (open) => {
    await using store = open();
    await using stored = await store.take('all');
    await stored.write(statesOf(GONE, 0, DOCUMENTS), record(1));
    await stored.write(new Map(), { ...record(2), dropped });
    // One that is waited for by nobody any more writes nothing.
    await assert.rejects(stored.write(statesOf(GONE, 0, 1), { ...record(3), stop: AbortSignal.abort() }));
    assert.equal(stored.record?.position.ts.increment, 2);
    await stored.write(statesOf(GONE, 0, 1), record(3));
    assert.equal(stored.documents, 1);
    assert.ok(stored.has(keyOf(GONE, 0)));
    // And what is put together with its end comes behind it.
    await stored.write(statesOf(GONE, 5, 6), { ...record(4), dropped });
    assert.equal(stored.documents, 1);
    assert.ok(stored.has(keyOf(GONE, 5)));
  });
});

test('who waits for states that another has may be stopped, and is in the way of nobody', async () => {
  await withStore(async (open) => {
    await using store = open();
    const first = await store.take('all');
    const stop = new AbortController();
    const second = store.take('all', stop.signal);
    const reason = new Error('stopped');
    stop.abort(reason);
    await assert.rejects(second, reason);
    const third = store.take('all');
    await first[Symbol.asyncDispose]();
    await using stored = await third;
    assert.equal(stored.documents, 0);
  });
});

test('of one who keeps states again by the time that they are at hand, none are deleted', async () => {
  await withStore(async (open) => {
    await using store = open();
    const first = await store.take('all');
    await first.write(statesOf(OTHER, 0, 1), record(1));
    const keeping = new Set<string>();
    const deleting = store.keepOnly(() => keeping);
    await new Promise((resolve) => setTimeout(resolve, 50));
    keeping.add('all');
    await first[Symbol.asyncDispose]();
    await deleting;
    {
      await using again = await store.take('all');
      assert.equal(again.documents, 1);
    }
    keeping.clear();
    await store.keepOnly(() => keeping);
    await using gone = await store.take('all');
    assert.equal(gone.record, undefined);
    assert.equal(gone.documents, 0);
  });
});
