/**
 * The module and JavaScript on entries of which js-bson cannot write most, a third of them damaged besides: with room enough, and in a
 * memory that is full again and again. `HOSTILE_SEED=7 HOSTILE_CASES=1000000` runs others, and more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { useTranscoder } from '../../src/worker/encode-batch.ts';
import { Transcoder } from '../../src/worker/transcoder.ts';
import { Random, damaged } from './damage.ts';
import { batchOf, plan } from './fixtures.ts';
import { CASES, SEED, encode } from './hostile.ts';
import { RawBson } from './raw-bson.ts';

const plans = [
  plan([
    { format: 'json' },
    { format: 'json-canonical' },
    { format: 'bson' },
    { format: 'json', expanded: true },
    { format: 'bson', expanded: true, maxEvents: 3 },
    { format: 'json-canonical', maxEvents: 5 },
  ]),
  plan([{ format: 'bson', maxMessageBytes: 2_000 }, { maxMessageBytes: 1_500 }, {}], {
    partitions: 4,
    partitionBy: [{ namespaces: ['*'], key: 'document' }],
  }),
  plan([{ format: 'json-canonical', maxEvents: 100, routingKey: '{coll}.{documentKey._id}' }, {}]),
];
const VERSIONS = [404, 500, 600, 600, 600, 800];

interface Campaign {
  readonly entries: number;
  readonly batch: number;
  /** The room that a transcoder begins with, and how many batches it is used for. */
  readonly room: number;
  readonly batches: number;
}

function compare(t: TestContext, { entries, batch, room, batches }: Campaign): void {
  const random = new Random(SEED);
  const raw = new RawBson(random);
  const usual = useTranscoder(new Transcoder(room));
  let events = 0;
  let parked = 0;
  let gaveUp = 0;
  try {
    for (let done = 0; done < entries / batch; done += batches) {
      const transcoder = new Transcoder(room);
      useTranscoder(transcoder);
      for (let number = done; number < done + batches; number++) {
        const originals = Array.from({ length: batch }, () => raw.entry());
        const bytes = batchOf(originals.map((one) => (random.below(3) > 0 ? one : damaged(random, one, originals))));
        const version = random.of(VERSIONS);
        try {
          const result = encode(random.of(plans), bytes, version);
          events += result.events.reduce((sum, count) => sum + count, 0);
          parked += result.parked.length;
        } catch (error) {
          throw new Error(`seed ${SEED}, batch ${number}`, { cause: error });
        }
      }
      assert.equal(transcoder.trapped, 0);
      gaveUp += transcoder.gaveUp;
    }
  } finally {
    useTranscoder(usual);
  }
  assert.ok(events > entries && parked > entries / 4 && gaveUp < events, `${events} events, ${parked} parked`);
  t.diagnostic(`seed ${SEED}: ${entries} entries, ${events} events, ${parked} parked, given up on ${gaveUp}`);
}

test('raw entries of every kind are the same from the module and from JavaScript', (t) => {
  compare(t, { entries: CASES / 20, batch: 12, room: 65_536, batches: 100 });
});

test('they are where there is no room left again and again', (t) => {
  compare(t, { entries: CASES / 20, batch: 60, room: 1, batches: 10 });
});
