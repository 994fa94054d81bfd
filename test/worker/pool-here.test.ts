import assert from 'node:assert/strict';
import { test } from 'node:test';
import workerThreads from 'node:worker_threads';
import { pino } from 'pino';
import { SharedPlan } from '../../src/worker/plan.ts';
import { WorkerPool } from '../../src/worker/pool.ts';
import type { JobOptions } from '../../src/worker/pool.ts';
import type { SubscriptionPlan } from '../../src/worker/protocol.ts';
import type { RawBatch } from '../../src/source/source.ts';
import { batchOf, insert, jsonEvents, plan } from './fixtures.ts';

const optionsOf = (subscription: Partial<SubscriptionPlan>): JobOptions => ({
  plan: new SharedPlan(plan([subscription])),
  wallTime: true,
  collated: [],
});

function batch(entries: number): RawBatch {
  const inserts = Array.from({ length: entries }, (_, n) => insert(n + 1, { _id: n + 1, say: 'hello' }));
  return { bytes: batchOf(inserts), entries, last: undefined };
}

/** What a pool without a single thread makes of a batch; undefined: it waits for one. */
async function withoutThreads(subscription: Partial<SubscriptionPlan>, raw: RawBatch): Promise<number[] | undefined> {
  const { Worker: Real } = workerThreads;
  workerThreads.Worker = function refused() {
    throw new Error('EAGAIN');
  } as unknown as typeof Real;
  const pool = new WorkerPool({
    threads: { least: 1, most: 1 },
    log: pino({ level: 'silent' }),
  });
  try {
    const waited = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 300));
    const results = await Promise.race([pool.encode(raw, optionsOf(subscription)).catch(() => undefined), waited]);
    return results?.flatMap((result) => jsonEvents(result).map(({ documentKey }) => Number(documentKey['_id'])));
  } finally {
    workerThreads.Worker = Real;
    await pool.close();
  }
}

test('a few entries need no thread', async () => {
  assert.deepEqual(await withoutThreads({}, batch(3)), [1, 2, 3]);
});

test('many entries wait for one', async () => {
  assert.equal(await withoutThreads({}, batch(1_000)), undefined);
});

test('entries that have more done to them than to be written wait for one, however few they are', async () => {
  assert.equal(await withoutThreads({ craft: { headers: { what: 'a text' } } }, batch(3)), undefined);
  assert.equal(await withoutThreads({ compression: 'gzip' }, batch(3)), undefined);
});

test('two results of one pool share nothing', async () => {
  const pool = new WorkerPool({
    threads: { least: 1, most: 1 },
    log: pino({ level: 'silent' }),
  });
  try {
    const [first] = await pool.encode(batch(2), optionsOf({}));
    const before = structuredClone(first);
    await pool.encode(batch(3), optionsOf({}));
    assert.deepEqual(first, before);
  } finally {
    await pool.close();
  }
});
