import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { Ledger } from '../../src/lanes/ledger.ts';

const at = (increment: number) => ({ ts: { seconds: 1, increment }, t: 1 });

describe('the ledger', () => {
  test('a batch that is done does not move the watermark past one before it that is not', () => {
    const ledger = new Ledger({ subscriptions: 1, release: () => {} });
    const first = ledger.open(at(1), 1, Uint32Array.of(2));
    ledger.open(at(2), 1, Uint32Array.of(1)).done(0, 1);
    assert.equal(ledger.watermark(0), undefined);
    first.done(0, 1);
    assert.equal(ledger.watermark(0), undefined);
    first.done(0, 1);
    assert.deepEqual(ledger.watermark(0), at(2));
    assert.equal(ledger.settled, true);
  });

  test('a batch with nothing for a subscription moves its watermark on its own', () => {
    const ledger = new Ledger({ subscriptions: 2, release: () => {} });
    ledger.open(at(1), 1, Uint32Array.of(1, 0));
    assert.equal(ledger.watermark(0), undefined);
    assert.deepEqual(ledger.watermark(1), at(1));
    assert.deepEqual(ledger.slowest(), [0]);
  });

  test('what knows the buffers of a batch that is done is let go, however long an older batch is waited for', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const ledger = new Ledger({ subscriptions: 2, release: () => {} });
    ledger.open(at(1), 1, Uint32Array.of(1, 0));
    const done = (): WeakRef<object> => {
      const buffers = { bytes: new Uint8Array(1_000) };
      const release = (): void => void (buffers.bytes = new Uint8Array(0));
      ledger.open(at(2), 1, Uint32Array.of(0, 1), release).done(1, 1);
      return new WeakRef(buffers);
    };
    const known = [done(), done()];
    await new Promise((resolve) => setTimeout(resolve, 10));
    collect();
    assert.deepEqual(
      known.map((one) => one.deref()),
      [undefined, undefined],
    );
    assert.equal(ledger.size, 3);
  });

  test('bytes are released when the last message of any subscription is done, and once', () => {
    let released = 0;
    const ledger = new Ledger({ subscriptions: 2, release: (bytes) => (released += bytes) });
    const ticket = ledger.open(at(1), 10, Uint32Array.of(1, 1));
    ticket.done(0, 1);
    assert.equal(released, 0);
    ticket.done(1, 1);
    assert.equal(released, 10);
    ledger.open(at(2), 5, Uint32Array.of(0, 0));
    assert.equal(released, 15);
  });

  test('behind a lane that is held, what gets done elsewhere takes no room', () => {
    const quiet = new Ledger({ subscriptions: 1, release: () => {} });
    const last = quiet.open(at(0), 1, Uint32Array.of(1));
    for (let n = 1; n <= 50_000; n++) quiet.open(at(n), 1, Uint32Array.of(1)).done(0, 1);
    assert.ok(quiet.size < 2_000, `${quiet.size} tickets are kept`);
    last.done(0, 1);
    assert.deepEqual(quiet.watermark(0), at(50_000));
  });

  test('whatever the order of the confirms, the watermark is the end of the gapless prefix', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })), { minLength: 1, maxLength: 60 }),
        fc.infiniteStream(fc.nat()),
        (batches, choices) => {
          const ledger = new Ledger({ subscriptions: 2, release: () => {} });
          const left = batches.map((counts) => [...counts]);
          const tickets = batches.map((counts, n) => ledger.open(at(n), 1, Uint32Array.from(counts)));
          const open = batches.flatMap(([a, b], n) => [
            ...Array.from({ length: a }, () => [n, 0] as const),
            ...Array.from({ length: b }, () => [n, 1] as const),
          ]);
          while (open.length > 0) {
            const [[n, s]] = open.splice(choices.next().value! % open.length, 1) as [readonly [number, 0 | 1]];
            left[n]![s]! -= 1;
            tickets[n]!.done(s, 1);
            for (const subscription of [0, 1]) {
              const gap = left.findIndex((counts) => counts[subscription]! > 0);
              const prefix = gap === -1 ? batches.length : gap;
              assert.deepEqual(ledger.watermark(subscription), prefix === 0 ? undefined : at(prefix - 1));
            }
          }
          assert.equal(ledger.settled, true);
        },
      ),
    );
  });
});
