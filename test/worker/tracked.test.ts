import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long } from 'bson';
import type { Document } from 'bson';
import { batchOf, entry, insert, plan, run, START_SECONDS } from './fixtures.ts';
import type { StateQuestions } from '../../src/worker/protocol.ts';

const images = { after: 'whenAvailable', before: 'whenAvailable', local: { maxBytes: 1e9 } } as const;
const its = plan([{ namespaces: ['shop.*', '!shop.other*'], images }]);

/** The states hold all entries up to number ten. */
function asked(...entries: readonly (Document | Uint8Array)[]): StateQuestions {
  const after = { seconds: START_SECONDS, increment: 10 };
  return run(its, batchOf(entries), { asks: true, tracks: { after } }).stateQuestions!;
}

/** Its document is longer than the entry; what lies behind that, its position, cannot be told. */
function damaged(ns: string): Uint8Array {
  const bytes = BSON.serialize(insert(11, { _id: 1 }, ns));
  bytes.fill(0x7f, Buffer.from(bytes).indexOf('\u0003o\0') + 3, Buffer.from(bytes).indexOf('\u0003o\0') + 7);
  return bytes;
}

/** Of no document. */
const update = (i: number): Document => entry(i, { op: 'u', o: {} });

const drop = (i: number, coll: string): Document => entry(i, { op: 'c', ns: 'shop.$cmd', o: { drop: coll } });

test('an entry that cannot be read leaves nothing to be trusted only where it may have changed a state', () => {
  assert.equal(asked(damaged('shop.orders')).isUnclear, true);
  assert.equal(asked(damaged('shop.others')).isUnclear, false);
  assert.equal(asked(update(11)).isUnclear, true);
  assert.equal(asked(update(10)).isUnclear, false);
  // Nobody knows of what its operations are.
  const applyOps = entry(11, { op: 'c', ns: 'admin.$cmd', o: { applyOps: 1 }, txnNumber: Long.fromNumber(1) });
  assert.equal(asked(applyOps).isUnclear, true);
});

test('what a drop leaves is looked for only where states are kept, and behind them', () => {
  assert.equal(asked(drop(11, 'orders')).dropped.length, 1);
  assert.equal(asked(drop(10, 'orders')).dropped.length, 0);
  assert.equal(asked(drop(11, 'others')).dropped.length, 0);
});
