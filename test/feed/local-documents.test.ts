import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Document } from 'bson';
import { LocalDocuments } from '../../src/feed/local-documents.ts';
import { noLog } from '../../src/library/no-log.ts';
import { KeptStates } from '../../src/states/kept-states.ts';
import { StateStore } from '../../src/states/state-store.ts';
import { SharedPlan } from '../../src/worker/plan.ts';
import type { RawBatch } from '../../src/source/source.ts';
import type { JobOptions, WorkerPool } from '../../src/worker/pool.ts';
import { batchOf, entry, insert, jsonEvents, plan, run, START_SECONDS } from '../worker/fixtures.ts';

const stop = new AbortController().signal;
const images = { after: 'whenAvailable', before: 'whenAvailable', local: { maxBytes: 1e9 } } as const;
const at = (increment: number) => ({ ts: { seconds: START_SECONDS, increment }, t: 3 });

const change = (i: number, n: number): Document =>
  entry(i, { op: 'u', o: { $v: 2, diff: { u: { n } } }, o2: { _id: 1 } });
const batch = (i: number, one: Document): RawBatch => ({ bytes: batchOf([one]), entries: 1, last: at(i) });

test('a batch that is done sooner than the one before it still sees what that one left', async () => {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-states-'));
  const store = new StateStore({ path, log: noLog });
  const stored = await store.take('all');
  const record = { replicaSetId: 'x', namespaces: ['*'] };
  await stored.clear({ ...record, position: at(0) });
  const checkpoints = { durable: () => undefined, flushed: async () => undefined };
  const kept = new KeptStates(
    { subscription: 'all', stored, checkpoints, maxBytes: 1e9, intervalMs: 1_000, record, log: noLog },
    at(0),
  );
  const its = plan([{ images }]);
  // The sooner a batch is, the longer it takes.
  const pool = {
    encode: async ({ bytes, last }: RawBatch, job: JobOptions) => {
      await sleep((4 - last!.ts.increment) * 100);
      return [run(its, bytes, job)];
    },
  } as unknown as WorkerPool;
  const local = new LocalDocuments({ pool, log: noLog });
  await local.begin(kept, at(0).ts);
  try {
    const job: JobOptions = { plan: new SharedPlan(its), wallTime: true, collated: [] };
    const batches = [batch(1, insert(1, { _id: 1, n: 1 })), batch(2, change(2, 2)), batch(3, change(3, 3))];
    const shown = await Promise.all(
      batches.map(async (one) => {
        const events: Document[] = [];
        const parts = local.parts({ batch: one, job, turn: Promise.resolve(), stop });
        for await (const result of parts) events.push(...jsonEvents(result));
        return events.map(({ fullDocumentBeforeChange: was, fullDocument: is }) => [was?.n, is?.n]);
      }),
    );
    assert.deepEqual(shown, [[[undefined, 1]], [[1, 2]], [[2, 3]]]);
  } finally {
    await local.close();
    await store[Symbol.asyncDispose]();
    await rm(path, { recursive: true });
  }
});
