import assert from 'node:assert/strict';
import { test } from 'node:test';
import { START, deliver, endOf } from '../../src/lanes/deliver.ts';
import { Ledger } from '../../src/lanes/ledger.ts';
import { NOTHING, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import type { DeliverOptions } from '../../src/lanes/deliver.ts';

const at = { ts: { seconds: 1, increment: 1 }, t: 1 };

test('what lies behind the last message of a result is delivered though the buffer of its messages is in other hands', () => {
  const ledger = new Ledger({ subscriptions: 1, release: () => undefined });
  const lanes: number[] = [];
  const options: DeliverOptions = {
    source: 'shop',
    subscriptions: 1,
    has: () => true,
    partitions: 1,
    ledger,
    last: at,
    lane: (number) => ({ push: () => lanes.push(number) }),
  };
  const result = { ...NOTHING, records: new Uint32Array(RECORD_FIELDS), bodies: new Uint8Array(8) };
  deliver({ result, from: START, to: endOf(result) }, options);
  // As to a worker thread, once the message is done.
  structuredClone(result.bodies, { transfer: [result.bodies.buffer] });
  deliver({ result, from: endOf(result), to: endOf(result) }, options);
  assert.deepEqual(lanes, [0]);
});
