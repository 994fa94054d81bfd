import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON } from 'bson';
import { Piscina } from 'piscina';
import { SharedPlan } from '../../src/worker/plan.ts';
import type { BatchReply, ThreadJob } from '../../src/worker/protocol.ts';
import { batchOf, insert, jsonEvents, plan } from './fixtures.ts';

test('a worker thread answers with moved buffers, and with data when a batch is no batch', async () => {
  const pool = new Piscina<ThreadJob, BatchReply>({
    filename: new URL('../../src/worker/main.ts', import.meta.url).href,
    minThreads: 1,
    maxThreads: 1,
  });
  try {
    const job = { plan: new SharedPlan(plan()).handle, wallTime: true, collated: [] };
    const bytes = batchOf([insert(1, { _id: 1 }), insert(2, { _id: 2 })]);
    const reply = await pool.run({ ...job, bytes }, { transferList: [bytes.buffer as ArrayBuffer] });
    assert.equal(reply.kind, 'done');
    if (reply.kind !== 'done') return;
    assert.equal(jsonEvents(reply).length, 2);
    // Whole buffers of their own: nothing beside the message was copied between the threads.
    assert.equal(reply.bodies.byteOffset, 0);
    assert.equal(reply.bodies.buffer.byteLength, reply.bodies.length);
    assert.equal(reply.records.buffer.byteLength, reply.records.byteLength);
    const refused = await pool.run({ ...job, bytes: BSON.serialize({ 0: 1 }) });
    assert.equal(refused.kind, 'rejected');
  } finally {
    await pool.destroy();
  }
});
