/**
 * What piscina starts in each worker thread: a batch in, its messages out. Large buffers are moved, not copied, and
 * those that came with the job go back; a failure goes back as data, since piscina would strip an error of its class.
 */
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { encodeBatch } from './encode-batch.ts';
import { KnownPlans } from './plan.ts';
import { LEAST_BYTES } from './spare-buffers.ts';
import type { BatchReply, ThreadJob } from './protocol.ts';

const plans = new KnownPlans();

export default function run(job: ThreadJob): BatchReply {
  try {
    const result = encodeBatch(plans.of(job.plan), job);
    const { bytes, room } = job;
    const spare: ArrayBuffer[] = [];
    if (bytes.buffer.byteLength >= LEAST_BYTES) spare.push(bytes.buffer as ArrayBuffer);
    if (room !== undefined && result.bodies.buffer !== room) spare.push(room);
    const reply = { ...result, spare };
    // oxlint-disable-next-line no-unsafe-type-assertion -- what main receives is the value behind `valueSymbol`
    return move({
      get [transferableSymbol]() {
        const states = result.states ? [result.states.documents.buffer, result.states.ends.buffer] : [];
        return [result.records.buffer, result.bodies.buffer, ...states, ...spare];
      },
      get [valueSymbol]() {
        return reply;
      },
    }) as unknown as BatchReply;
  } catch (error) {
    return { kind: 'rejected', reason: error instanceof Error ? error.message : String(error) };
  }
}
