/**
 * Entries for subscriptions that ask for more than the plain event: conditions, fields, masks, headers, envelopes, the begin and end of
 * transactions. Each batch is encoded by the module twice, with other bytes left in its memory around the batch, and by JavaScript:
 * were anything read that is not the batch, the results would differ.
 */
import assert from 'node:assert/strict';
import { parseCondition } from '../../src/config/where.ts';
import { useTranscoder } from '../../src/worker/encode-batch.ts';
import { wordsOf } from '../../src/worker/output.ts';
import { Transcoder } from '../../src/worker/transcoder.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { damaged } from '../worker/damage.ts';
import { batchOf, insert, messages, plan, run } from '../worker/fixtures.ts';
import { NEIGHBOURS, between, inJavaScript, sameResult } from '../worker/hostile.ts';
import { RawBson } from '../worker/raw-bson.ts';
import { pure } from './target.ts';

const ENTRIES = 8;

const of = plan(
  [
    {
      craft: {
        where: {
          condition: parseCondition({
            any: [
              { field: 'fullDocument.d.e', exists: true },
              { not: { field: 'updatedFields.u', gt: 3 } },
              { all: [{ operation: ['insert', 'update'] }, { field: 'documentKey._id', in: [1, 'a', null] }] },
            ],
          }),
          whenUnknown: 'deliver',
        },
        fields: { include: ['text', 'd', 's.u', 'a'] },
        headers: { key: '{documentKey._id}', lane: '{partition}' },
      },
    },
    {
      maxEvents: 3,
      craft: {
        fields: { exclude: ['d.u', 'l'] },
        mask: [
          { fields: ['s', 'a.b'], kind: 'constant', value: 'hidden' },
          { fields: ['u', 'i'], kind: 'hash', key: 'k', encoding: 'hex' },
        ],
      },
    },
    { format: 'debezium' },
    {
      format: 'cloudevents',
      craft: {
        cloudEvents: { mode: 'binary', source: '/{db}', type: '{operationType}', headerPrefix: 'cloudEvents:' },
      },
    },
    { format: 'bson', transactions: true, expanded: true, maxMessageBytes: 2_000 },
    {},
  ],
  { partitions: 3 },
);
const PLAIN_FROM = 5 * 3;
const good = [insert(0x7f00_0000, { _id: 'before' }), insert(0x7f00_0001, { _id: 'after' })];

const ROOM = 64 * 1024;
const LEFT = NEIGHBOURS.map((bytes) => new Uint8Array(ROOM).map((_, at) => bytes[at % bytes.length]!));
const transcoders = NEIGHBOURS.map(() => new Transcoder(ROOM));
const noPrefix = wordsOf(new Uint8Array(0));

/** Of a batch that was there before, and of what was written of it. */
function amidWhatWasLeft(k: number, work: () => BatchResult): BatchResult {
  const transcoder = transcoders[k]!;
  transcoder.begin(LEFT[k]!, noPrefix);
  transcoder.bytes.fill(k === 0 ? 0x22 : 0, 0, 8_192);
  const usual = useTranscoder(transcoder);
  try {
    return work();
  } finally {
    useTranscoder(usual);
    assert.equal(transcoder.trapped, 0);
  }
}

export const craftTarget = pure('entries, shaped', 10, ({ random }) => {
  const raw = new RawBson(random);
  const originals = Array.from({ length: ENTRIES }, () => raw.entry());
  const entries = originals.map((one) => (random.below(2) > 0 ? damaged(random, one, originals) : one));
  const batch = batchOf([good[0]!, ...entries, good[1]!]);
  const serverVersion = random.of([404, 500, 600, 800]);
  const encode = (k: number): BatchResult => run(of, between(batch, NEIGHBOURS[k]!), { serverVersion });
  const first = amidWhatWasLeft(0, () => encode(0));
  for (const other of [amidWhatWasLeft(1, () => encode(1)), inJavaScript(() => encode(1))]) {
    assert.ok(sameResult(first, other), 'the result depends on what lies around the batch, or on who writes it');
  }
  for (const { reason, detail } of first.parked) assert.ok(reason !== 'worker-crash' && detail !== '');
  const plain = messages(first).filter(({ lane }) => lane >= PLAIN_FROM);
  for (const _id of ['before', 'after']) {
    assert.ok(
      plain.some(({ body }) => Buffer.from(body).includes(`"documentKey":{"_id":"${_id}"}`)),
      `the entry ${_id} is missing`,
    );
  }
  return ENTRIES;
});
