/** What the tests with damaged entries share, and those with a change stream's damaged events: the campaign and its proofs. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { BSON, Code, Decimal128, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { encodeBatch, useTranscoder } from '../../src/worker/encode-batch.ts';
import { Transcoder } from '../../src/worker/transcoder.ts';
import { MESSAGE_TYPES } from '../../src/worker/protocol.ts';
import type { BatchResult, WorkerPlan } from '../../src/worker/protocol.ts';
import { Random, damaged } from './damage.ts';
import { batchOf, messages, plan, text } from './fixtures.ts';

/** `HOSTILE_SEED=7 HOSTILE_CASES=1000000` runs others, and more. */
export const SEED = Number(process.env['HOSTILE_SEED'] ?? 1);
export const CASES = Number(process.env['HOSTILE_CASES'] ?? 100_000);

export const everyType = {
  _id: { a: 1, b: Long.fromNumber(5) },
  text: 'naïve "☃"',
  list: [1, 2.5, { c: new Date(0) }, [null, true]],
  binary: Buffer.from('x'),
  regex: /x"/i,
  code: new Code('f', { x: [1] }),
  decimal: Decimal128.fromString('1.50'),
  ts: new Timestamp({ t: 1, i: 2 }),
  uuid: new UUID(),
  d: { e: { f: { g: {} } } },
};

const operations = [
  'insert',
  'update',
  'replace',
  'delete',
  'create',
  'createIndexes',
  'drop',
  'dropDatabase',
  'dropIndexes',
  'modify',
  'rename',
  'shardCollection',
] as const;
/** Three formats, four partitions each: lanes 4 … 7 are those of the subscription to BSON, whose messages hold several events. */
export const hostilePlan = plan(
  [
    { operations },
    { operations, format: 'bson', maxEvents: 4 },
    { format: 'json-canonical', routingKey: '{coll}.{documentKey._id}.{partition}' },
  ],
  { partitions: 4, partitionBy: [{ namespaces: ['*'], key: 'document' }] },
);

/** The batch inside a larger buffer, between what would be read if anything were read outside. */
export function between(batch: Uint8Array, neighbours: Uint8Array): Uint8Array {
  const room = new Uint8Array(batch.length + neighbours.length * 2);
  room.set(neighbours);
  room.set(batch, neighbours.length);
  room.set(neighbours, neighbours.length + batch.length);
  return room.subarray(neighbours.length, neighbours.length + batch.length);
}

/** One that looks as if the last value went on, and one that ends every search. */
export const NEIGHBOURS = [BSON.serialize(everyType).slice(4, 68), new Uint8Array(64)];

/** Compared by hand: two results as objects take longer than all that is tested here. */
export function sameResult(one: BatchResult, other: BatchResult): boolean {
  return (
    Buffer.compare(one.bodies, other.bodies) === 0 &&
    one.records.length === other.records.length &&
    one.records.every((field, k) => field === other.records[k]) &&
    one.parked.length === other.parked.length &&
    one.parked.every((event, k) => {
      const { entry: bytes, ...rest } = other.parked[k]!;
      return (
        Buffer.compare(event.entry, bytes) === 0 &&
        isDeepStrictEqual({ ...event, entry: undefined }, { ...rest, entry: undefined })
      );
    }) &&
    isDeepStrictEqual(
      [one.marks, one.gates, one.routingKeys, one.last, one.lastWallMs, one.filtered, one.unknownOps],
      [other.marks, other.gates, other.routingKeys, other.last, other.lastWallMs, other.filtered, other.unknownOps],
    )
  );
}

/** Twice, between other neighbours each time, and the second time without the module. */
export function encode(of: WorkerPlan, bytes: Uint8Array, serverVersion = 600): BatchResult {
  const [first, second] = NEIGHBOURS.map((neighbours, k) => {
    const job = { bytes: between(bytes, neighbours), wallTime: true, collated: [], serverVersion };
    return k === 0 ? encodeBatch(of, job) : inJavaScript(() => encodeBatch(of, job));
  });
  assert.ok(sameResult(first!, second!), 'the result depends on what lies around the batch, or on who writes it');
  return first!;
}

const plainTranscoder = new Transcoder(64 * 1024, { module: false });

/** What is encoded in here is written by JavaScript alone. */
export function inJavaScript<T>(work: () => T): T {
  const usual = useTranscoder(plainTranscoder);
  try {
    return work();
  } finally {
    useTranscoder(usual);
  }
}

/** What js-bson refuses, and servers store. */
const REFUSED = /subtype 0x02|Invalid UTF-8/;

function checkBson(body: Uint8Array): void {
  for (let at = 0; at < body.length;) {
    const length = new DataView(body.buffer, body.byteOffset + at).getInt32(0, true);
    try {
      BSON.deserialize(body.subarray(at, at + length), { validation: { utf8: false } });
    } catch (error) {
      if (!REFUSED.test(String(error))) throw error;
    }
    at += length;
  }
}

function checkMessages(result: BatchResult, good: ReadonlyMap<string, Buffer>): void {
  const found = new Set<string>();
  for (const { lane, first, events, type, body } of messages(result)) {
    // A gate, which is no message.
    if (!MESSAGE_TYPES.some((known) => known === type)) continue;
    assert.ok(events > 0);
    if (lane >= 4 && lane < 8) {
      checkBson(body);
      for (const [name, known] of good) {
        if (name.startsWith(`${lane}.`) && Buffer.from(body).includes(known)) found.add(name);
      }
    } else {
      JSON.parse(text(body));
      const known = good.get(`${lane}.${first[1]}`);
      if (known === undefined) continue;
      assert.ok(known.equals(body), 'a neighbour has changed');
      found.add(`${lane}.${first[1]}`);
    }
  }
  assert.equal(found.size, good.size, 'a neighbour is missing');
}

export interface Campaign {
  readonly of: WorkerPlan;
  /** Of every shape, and the documents to be found whole between damaged ones. */
  readonly originals: readonly Uint8Array[];
  readonly good: readonly [Document, Document, Document];
  readonly cases: number;
}

const DAMAGED = 10;

export function campaign(t: TestContext, { of, originals, good, cases }: Campaign): void {
  const random = new Random(SEED);
  const expected = new Map<string, Buffer>();
  for (const one of good) {
    for (const { lane, first, body } of messages(encode(of, batchOf([one])))) {
      expected.set(`${lane}.${first[1]}`, Buffer.from(body));
    }
  }
  assert.equal(expected.size, 9);
  let parked = 0;
  let events = 0;
  let slowest = 0;
  const started = performance.now();
  for (let done = 0; done < cases; done += DAMAGED) {
    const bytes = Array.from({ length: DAMAGED }, () => damaged(random, random.of(originals), originals));
    const half = DAMAGED / 2;
    const batch = batchOf([good[0], ...bytes.slice(0, half), good[1], ...bytes.slice(half), good[2]]);
    const before = performance.now();
    const result = encode(of, batch);
    slowest = Math.max(slowest, performance.now() - before);
    checkMessages(result, expected);
    for (const { reason, detail } of result.parked) assert.ok(reason !== 'worker-crash' && detail !== '');
    parked += new Set(result.parked.map(({ entry }) => entry)).size;
    events += result.events.reduce((sum, count) => sum + count, 0);
  }
  assert.ok(parked > cases / 4 && parked < cases, `${parked} parked`);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  t.diagnostic(
    `seed ${SEED}: ${cases} cases in ${seconds} s, ${parked} parked, ${events} events, slowest batch ${slowest.toFixed(0)} ms`,
  );
}
