/** What becomes of those that wait behind a batch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sequence } from '../../src/feed/sequence.ts';
import type { SequenceOptions } from '../../src/feed/sequence.ts';
import { NOTHING, UNCLEAR } from '../../src/worker/protocol.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import type { JobOptions } from '../../src/worker/pool.ts';

test('a batch that cannot be put in order gives up its turn, and nobody waits for it', async () => {
  const reason = new Error('a part of it is gone');
  const failures: unknown[] = [];
  let turn = Promise.resolve();
  // As `images: local` has it: one batch's documents are what the one before it left.
  async function* parts(): AsyncGenerator<BatchResult> {
    const before = turn;
    let leave = (): void => undefined;
    turn = new Promise((resolve) => (leave = resolve));
    await before;
    try {
      yield { ...NOTHING, events: new Uint32Array(1), touched: UNCLEAR };
    } finally {
      leave();
    }
  }
  const sequence = new Sequence({
    documents: { wants: () => true, parts },
    meter: { filtered: () => undefined, batch: () => undefined },
    touched: () => {
      throw reason;
    },
    fail: (error: unknown) => failures.push(error),
    touch: () => undefined,
    transactions: { open: undefined },
  } as unknown as SequenceOptions);
  const batch = { bytes: new Uint8Array(5), entries: 1, last: undefined };
  for (let n = 0; n < 2; n++) sequence.take(batch, {} as JobOptions);
  await sequence.delivered;
  assert.deepEqual(failures, [reason]);
});
