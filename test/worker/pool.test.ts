import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, UUID } from 'bson';
import type { Document } from 'bson';
import { pino } from 'pino';
import { pieces } from '../../src/feed/pieces.ts';
import type { OplogHistory } from '../../src/source/history.ts';
import { SharedPlan } from '../../src/worker/plan.ts';
import { WorkerPool } from '../../src/worker/pool.ts';
import type { RawBatch } from '../../src/source/source.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { START_SECONDS, batchOf, entry, insert, jsonEvents, plan } from './fixtures.ts';

const OPTIONS = { plan: new SharedPlan(plan([{}, { name: 'others' }])), wallTime: true, collated: [] };
const ENTRIES = 20;

/** Inserts 1 … 20; those that are named here say what their worker shall do over them. */
function batch(deadly: Readonly<Record<number, string>> = {}): RawBatch {
  const entries = Array.from({ length: ENTRIES }, (_, n) =>
    insert(n + 1, { _id: n + 1, say: deadly[n + 1] ?? 'hello' }),
  );
  return {
    bytes: batchOf(entries),
    entries: ENTRIES,
    last: { ts: { seconds: START_SECONDS, increment: ENTRIES }, t: 3 },
  };
}

async function withPool<T>(use: (pool: WorkerPool) => Promise<T>, deadlineMs = 5_000): Promise<T> {
  const pool = new WorkerPool({
    threads: { least: 2, most: 2 },
    log: pino({ level: 'silent' }),
    deadlineMs,
    workerFile: new URL('deadly-worker.ts', import.meta.url).href,
  });
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

function deliveredBy(results: readonly BatchResult[]): number[] {
  const ids = results.flatMap((result) => jsonEvents(result).map(({ documentKey }) => Number(documentKey['_id'])));
  // Two subscriptions, both to everything.
  return ids.filter((_, n) => ids.indexOf(ids[n]!) === n);
}

function parkedBy(results: readonly BatchResult[]): string[] {
  return results.flatMap(({ parked }) =>
    parked.map(({ subscription, id, reason }) => `${subscription} ${id} ${reason}`),
  );
}

const parkedEntry = (n: number): string[] => [0, 1].map((s) => `${s} shop:${START_SECONDS}.${n}.0 worker-crash`);
const all = Array.from({ length: ENTRIES }, (_, n) => n + 1);

test('a batch that harms no worker comes back in one piece', async () => {
  const results = await withPool(async (pool) => pool.encode(batch(), OPTIONS));
  assert.equal(results.length, 1);
  assert.deepEqual(deliveredBy(results), all);
  assert.deepEqual(parkedBy(results), []);
});

for (const [how, deadlineMs] of [
  ['exit!', 5_000],
  ['throw!', 5_000],
  ['hang!', 3_000],
] as const) {
  test(`an entry over which every worker does "${how}" is parked for every subscription; those around it pass in order`, async () => {
    const results = await withPool(async (pool) => pool.encode(batch({ 7: how }), OPTIONS), deadlineMs);
    assert.deepEqual(
      deliveredBy(results),
      all.filter((n) => n !== 7),
    );
    assert.deepEqual(parkedBy(results), parkedEntry(7));
    assert.deepEqual(
      results.flatMap(({ last }) => last?.ts.increment ?? []).toSorted((a, b) => a - b),
      results.map(({ last }) => last!.ts.increment),
    );
    assert.equal(results.at(-1)!.last!.ts.increment, ENTRIES);
  });
}

test('several such entries in one batch are parked, and batches beside it are not touched', async () => {
  const [deadly, beside] = await withPool(async (pool) =>
    Promise.all([
      pool.encode(batch({ 1: 'exit!', 12: 'throw!', 20: 'exit!' }), OPTIONS),
      pool.encode(batch(), OPTIONS),
    ]),
  );
  assert.deepEqual(
    deliveredBy(deadly),
    all.filter((n) => ![1, 12, 20].includes(n)),
  );
  assert.deepEqual(parkedBy(deadly), [1, 12, 20].flatMap(parkedEntry));
  assert.deepEqual(deliveredBy(beside), all);
  assert.deepEqual(parkedBy(beside), []);
});

test('a batch that waits behind one that hangs is not taken for hanging itself', async () => {
  const results = await withPool(
    async (pool) =>
      Promise.all(
        [{ 3: 'hang!' }, { 4: 'hang!' }, {}, {}, {}].map(async (deadly) => pool.encode(batch(deadly), OPTIONS)),
      ),
    3_000,
  );
  assert.deepEqual(results.map(parkedBy), [parkedEntry(3), parkedEntry(4), [], [], []]);
  assert.deepEqual(
    results.slice(2).map(({ length }) => length),
    [1, 1, 1],
  );
});

test('a piece of a transaction that is parked keeps its bytes when the next pieces take their place', async () => {
  const padding = 'x'.repeat(400_000);
  const operations = Array.from({ length: 20 }, (_, n) => ({
    ...insert(1, { _id: n + 1, say: n === 2 ? 'throw!' : 'hello', padding }),
  }));
  const transaction = { op: 'c', ns: 'admin.$cmd', lsid: { id: new UUID() }, txnNumber: Long.fromInt(1) };
  const first = BSON.serialize(entry(1, { ...transaction, o: { applyOps: operations, partialTxn: true } }));
  const commit = BSON.serialize(entry(2, { ...transaction, o: { applyOps: [] } }));
  const at = { ts: { seconds: START_SECONDS, increment: 1 }, t: 3 };
  const history: OplogHistory = {
    entry: () => Promise.resolve({ kind: 'found', value: first }),
    previous: () => Promise.resolve({ kind: 'found', value: undefined }),
  };
  const results = await withPool(async (pool) => {
    const all: BatchResult[] = [];
    const stop = new AbortController().signal;
    for await (const { bytes, ...piece } of pieces({ history, chain: [at], commit }, stop)) {
      all.push(...(await pool.encode({ bytes, entries: 1, last: at }, { ...OPTIONS, piece })));
    }
    return all;
  });
  assert.ok(results.length > 2);
  const parked = results.flatMap((result) => result.parked);
  assert.deepEqual(
    parked.map(({ reason }) => reason),
    ['worker-crash', 'worker-crash'],
  );
  const { applyOps } = BSON.deserialize(parked[0]!.entry)['o'];
  assert.deepEqual(
    applyOps.map((operation: Document) => operation['o'].say),
    ['hello', 'hello', 'throw!', 'hello', 'hello'],
  );
});

test('where workers can do nothing at all, no entry is blamed: the batch waits', async () => {
  const pool = new WorkerPool({
    threads: { least: 1, most: 1 },
    log: pino({ level: 'silent' }),
    workerFile: new URL('sick-worker.ts', import.meta.url).href,
  });
  const encoded = pool.encode(batch(), OPTIONS).then(
    () => 'encoded',
    () => 'given up at the close',
  );
  const waited = new Promise<string>((resolve) => setTimeout(() => resolve('waiting'), 1_500));
  assert.equal(await Promise.race([encoded, waited]), 'waiting');
  await pool.close();
  assert.equal(await encoded, 'given up at the close');
});

test('a second thread comes while batches stand in line, and everything is answered', async () => {
  const pool = new WorkerPool({
    threads: { least: 1, most: 2 },
    log: pino({ level: 'silent' }),
  });
  try {
    const entries = Array.from({ length: 20_000 }, (_, n) => insert(n + 1, { _id: n + 1, say: 'hello' }));
    const large = { bytes: batchOf(entries), entries: entries.length, last: undefined };
    const ended = new AbortController();
    const press = async (): Promise<void> => {
      while (!ended.signal.aborted) {
        const [result] = await pool.encode(large, OPTIONS);
        assert.equal(result?.entries, entries.length);
      }
    };
    const pressing = Promise.all([press(), press(), press(), press()]);
    assert.equal(pool.threads.length, 1);
    const deadline = performance.now() + 30_000;
    while (pool.threads.length < 2 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(pool.threads.length, 2);
    ended.abort();
    await pressing;
  } finally {
    await pool.close();
  }
});
