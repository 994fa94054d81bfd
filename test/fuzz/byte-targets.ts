/** What comes as bytes: oplog entries and change-stream events in the workers, replies and tokens on the main thread, records of the store. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { BSON, BSONError, Long, Timestamp } from 'bson';
import { decodeCheckpoint, decodeGap, decodeParked, encodeCheckpoint, encodeGap } from '../../src/checkpoint/record.ts';
import { Fragments } from '../../src/source/stream-fragments.ts';
import { documentAt, entryAt, readReply, readStreamReply } from '../../src/source/reply.ts';
import { opTimeOfToken, parseResumeToken, placeOfEvent } from '../../src/source/resume-token.ts';
import { MalformedBson } from '../../src/worker/bson.ts';
import { damaged } from '../worker/damage.ts';
import type { Random } from '../worker/damage.ts';
import { batchOf, insert } from '../worker/fixtures.ts';
import { NEIGHBOURS, between, encode, everyType, hostilePlan } from '../worker/hostile.ts';
import { RawBson } from '../worker/raw-bson.ts';
import { mayThrow, pure } from './target.ts';
import type { Target } from './target.ts';

const ENTRIES = 10;
const streamPlan = {
  ...hostilePlan,
  source: { ...hostilePlan.source, changeStream: { expanded: true } },
};
const VERSIONS = [404, 500, 600, 800];

/** A third stays as it is, and what is not is damaged in its inside: the frame is the batch's. */
function someEntries(random: Random, entry: () => Uint8Array): Uint8Array[] {
  const originals = Array.from({ length: ENTRIES }, entry);
  return originals.map((one) => (random.below(3) > 0 ? damaged(random, one, originals) : one));
}

/** From the module and from JavaScript, between other neighbours: `encode` holds the results together. */
const entries = pure('oplog entries', 34, ({ random }) => {
  const raw = new RawBson(random);
  const result = encode(hostilePlan, batchOf(someEntries(random, () => raw.entry())), random.of(VERSIONS));
  for (const { reason, detail } of result.parked) assert.ok(reason !== 'worker-crash' && detail !== '');
  return ENTRIES;
});

const streamOriginals = ['insert', 'update', 'replace', 'delete', 'rename', 'invalidate', 'brandNew'].map(
  (operationType, i) =>
    BSON.serialize({
      _id: { _data: `826b02867f0000000${i}2b022c0100296e5a1004` },
      operationType,
      clusterTime: new Timestamp({ t: 1_795_327_615, i }),
      wallTime: new Date(0),
      ns: { db: 'shop', coll: 'orders' },
      to: { db: 'shop', coll: 'old' },
      fullDocument: everyType,
      documentKey: { _id: { a: 1 } },
      updateDescription: {
        updatedFields: { 'a.b': everyType },
        removedFields: ['x'],
        truncatedArrays: [{ field: 'l', newSize: 2 }],
      },
      lsid: { id: everyType.uuid },
      txnNumber: Long.fromNumber(3),
      splitEvent: { fragment: 1, of: 2 },
    }),
);

const streamEvents = pure('change-stream events', 20, ({ random }) => {
  const result = encode(streamPlan, batchOf(someEntries(random, () => random.of(streamOriginals))));
  for (const { reason, detail } of result.parked) assert.ok(reason !== 'worker-crash' && detail !== '');
  return ENTRIES;
});

/** The frame itself is broken: the pool bisects what a worker cannot read, so that this may say no, but never anything else. */
const batches = pure('batches', 5, ({ random }) => {
  const raw = new RawBson(random);
  const bytes = batchOf([raw.entry(), raw.entry()]);
  const broken = damaged(random, bytes, [bytes, raw.entry()]);
  mayThrow(
    () => encode(hostilePlan, broken),
    (error) => error instanceof MalformedBson,
  );
  return 1;
});

const replyEntries = [1, 2, 3].map((i) => insert(i, { ...everyType, _id: i }));
const replies = [
  { firstBatch: replyEntries, id: Long.fromNumber(5), ns: 'local.oplog.rs' },
  { nextBatch: [], id: Long.fromNumber(0), ns: 'local.oplog.rs' },
  {
    nextBatch: streamOriginals.slice(0, 3).map((one) => BSON.deserialize(one)),
    postBatchResumeToken: { _data: '826b02867f000000012b0229296e04' },
    id: Long.fromNumber(5),
    ns: 'shop.$cmd.aggregate',
  },
].map((one) => BSON.serialize(one));

const REPLY_FAULT = /^(the reply|entry \d+ of the reply|an oplog entry without|a batch )/;

const wireReplies = pure('wire replies', 15, ({ random }) => {
  const bytes = damaged(random, random.of(replies), replies);
  const fault = (error: Error): boolean => REPLY_FAULT.test(error.message) || error instanceof MalformedBson;
  const seen = NEIGHBOURS.map((neighbours) => {
    const reply = between(bytes, neighbours);
    return [
      mayThrow(() => {
        const { batch, ...rest } = readReply(reply);
        const last = rest.entries > 0 ? entryAt(batch, rest.entries - 1).opTime : undefined;
        return [rest, Buffer.from(batch).toString('latin1'), last];
      }, fault),
      mayThrow(() => {
        const { batch, token, ...rest } = readStreamReply(reply);
        const last = rest.entries > 0 ? documentAt(batch, rest.entries - 1).length : undefined;
        return [rest, Buffer.from(batch).toString('latin1'), token && Buffer.from(token).toString('latin1'), last];
      }, fault),
      mayThrow(
        () => new Fragments().join(readStreamReply(reply)).entries,
        (error) => fault(error) || error instanceof BSONError,
      ),
    ];
  });
  assert.ok(isDeepStrictEqual(seen[0], seen[1]), 'what is read depends on what lies around the reply');
  return 1;
});

const TOKENS = [
  '826b02867f000000012b022c0100296e5a1004',
  '826b02867f000000012b0229296e04',
  '82',
  '',
  '8' + '2'.repeat(200),
];
const HEX = '0123456789abcdefABCDEFgG \0é';

const resumeTokens = pure('resume tokens', 5, ({ random }) => {
  let data = random.of(TOKENS);
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(data.length + 1);
    data = data.slice(0, at) + HEX[random.below(HEX.length)]! + data.slice(at + random.below(3));
  }
  const place = parseResumeToken(data);
  if (place !== undefined) {
    for (const n of [place.seconds, place.increment, place.index]) assert.ok(Number.isSafeInteger(n) && n >= 0);
  }
  const bytes = damaged(random, BSON.serialize({ _id: { _data: data } }), streamOriginals);
  placeOfEvent(bytes);
  mayThrow(
    () => opTimeOfToken(bytes, 'deployment'),
    (error) => error instanceof BSONError || error.message.startsWith('a resume token of a form'),
  );
  return 1;
});

const ts = { seconds: 1_795_327_615, increment: 2 };
const records = [
  encodeCheckpoint({
    version: 1,
    partitions: 2,
    updatedAt: 0,
    subscription: 'orders',
    source: 'shop',
    replicaSetId: '6b02867ff153d8281a8c2fde',
    resume: { kind: 'after', ts, t: 3 },
    watermark: { ts, t: 3, index: 0 },
    lanes: [{ ts, index: 4 }, undefined],
    routing: 'r',
    layout: 'l',
    partitionQueues: false,
  }),
  encodeGap({ source: 'shop', subscription: 'orders', from: ts, to: ts, reason: 'truncated', at: 0 }),
];

/** A checksum of four bytes finds all of this. */
const stored = pure('records of the store', 5, ({ random }) => {
  const original = random.of(records);
  const bytes = damaged(random, original, records);
  if (Buffer.compare(bytes, original) === 0) return 1;
  for (const decode of [decodeCheckpoint, decodeGap, decodeParked]) {
    const read = mayThrow(
      () => decode(bytes),
      (error) => error.name === 'DamagedRecordError',
    );
    assert.equal(read, undefined, 'a damaged record was taken for a good one');
  }
  return 1;
});

export const BYTE_TARGETS: readonly Target[] = [entries, streamEvents, batches, wireReplies, resumeTokens, stored];
