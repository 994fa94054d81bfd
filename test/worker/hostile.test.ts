/**
 * Entries that are no BSON, or lie about themselves. Whatever they hold: no crash, no hang, not a byte read outside the batch,
 * what is sent is always valid, and the entries around them arrive as if nothing were there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { BSON, Binary, Code, Decimal128, Long, ObjectId, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { MalformedBson } from '../../src/worker/bson.ts';
import { encodeBatch } from '../../src/worker/encode-batch.ts';
import { MESSAGE_TYPES } from '../../src/worker/protocol.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { Random, damaged } from './damage.ts';
import { START_SECONDS, batchOf, entry, insert, messages, plan, run, text } from './fixtures.ts';

/** `HOSTILE_SEED=7 HOSTILE_CASES=1000000` runs others, and more. */
const SEED = Number(process.env['HOSTILE_SEED'] ?? 1);
const CASES = Number(process.env['HOSTILE_CASES'] ?? 120_000);

const lsid = { id: new UUID('3f2504e0-4f89-41d3-9a0c-0305e82c3301'), uid: new Binary(Buffer.alloc(32), 0) };
const session = { lsid, txnNumber: Long.fromNumber(5) };
const previous = { prevOpTime: { ts: new Timestamp({ t: START_SECONDS, i: 1 }), t: Long.fromNumber(3) } };
const o2 = { _id: new ObjectId('6b02867ff153d8281a8c2fde') };

function operation(n: number, more: Document = {}): Document {
  return { op: 'i', ns: 'shop.orders', ui: new UUID(), o: { _id: n, a: 'é☆' }, o2: { _id: n }, ...more };
}

function applyOps(operations: readonly Document[], fields: Document = {}, o: Document = {}): Document {
  return entry(5, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations, ...o }, ...fields });
}

function command(o: Document, more: Document = {}): Document {
  return entry(5, { op: 'c', ns: 'shop.$cmd', o, ...more });
}

const everyType = {
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
const diff = {
  d: { s: false },
  u: { t: 2, 'x.y': { a: [1] } },
  i: { n: 'é' },
  sarr: { a: true, l: 3, u0: 9, s2: { u: { k: 5 }, sdeep: { a: true, u1: everyType } } },
  so: { sq: { u: { r: 2 } } },
};

/** Every shape that an oplog has. */
const originals = [
  insert(5, everyType),
  entry(5, { op: 'u', o: { $v: 2, diff }, o2 }),
  entry(5, { op: 'u', o: { $v: 1, $set: { 'a.b': 1, 'c.0': everyType }, $unset: { d: true } }, o2 }),
  entry(5, { op: 'u', o: everyType, o2: { _id: everyType._id } }),
  entry(5, { op: 'd', o: o2, ...session, stmtId: [0, 1], ...previous }),
  applyOps([operation(0), operation(1, { op: 'd' }), operation(2, { op: 'u', o: { $v: 2, diff } })], session),
  applyOps([operation(0), operation(1)]),
  applyOps([operation(0), { op: 'c', ns: 'admin.$cmd', o: { applyOps: [operation(1), operation(2)] } }]),
  applyOps([operation(0)], { ...session, ...previous, multiOpType: 1 }),
  applyOps([operation(0)], { ...session, ...previous }, { partialTxn: true }),
  applyOps([operation(0)], { ...session, ...previous }, { prepare: true }),
  applyOps([operation(0)], { ...session, ...previous }, { count: Long.fromNumber(9) }),
  command({ commitTransaction: 1, commitTimestamp: new Timestamp({ t: 1, i: 1 }) }, { ...session, ...previous }),
  command({ abortTransaction: 1 }, { ...session, ...previous }),
  command({ create: 'orders', idIndex: { v: 2, key: { _id: 1 }, name: '_id_' } }),
  command({ drop: 'orders' }, { o2: { numRecords: 3 } }),
  command({ dropDatabase: 1 }),
  command({ renameCollection: 'shop.orders', to: 'shop.old', stayTemp: false, dropTarget: new UUID() }),
  command({ collMod: 'orders', validator: { a: 1 } }, { o2: { collectionOptions_old: { uuid: new UUID() } } }),
  command({ createIndexes: 'orders', v: 2, key: { a: 1 }, name: 'a_1' }),
  command({ commitIndexBuild: 'orders', indexBuildUUID: new UUID(), indexes: [{ v: 2, key: { a: 1 }, name: 'a_1' }] }),
  command({ dropIndexes: 'orders', index: 'a_1' }, { o2: { v: 2, key: { a: 1 }, name: 'a_1' } }),
  command({ brandNew: 'orders' }),
  entry(5, { op: 'n', ns: 'shop.orders', o: { msg: 'x' }, o2: { shardCollection: 'shop.orders', shardKey: { a: 1 } } }),
  entry(5, { op: 'ci', ns: 'shop.orders', o: { k: 1, v: 2 }, rid: Long.fromNumber(9) }),
].map((one) => BSON.serialize(one));

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
const of = plan(
  [
    { operations },
    { operations, format: 'bson', maxEvents: 4 },
    { format: 'json-canonical', routingKey: '{coll}.{documentKey._id}.{partition}' },
  ],
  { partitions: 4, partitionBy: [{ namespaces: ['*'], key: 'document' }] },
);

/** The batch inside a larger buffer, between what would be read if anything were read outside. */
function between(batch: Uint8Array, neighbours: Uint8Array): Uint8Array {
  const room = new Uint8Array(batch.length + neighbours.length * 2);
  room.set(neighbours);
  room.set(batch, neighbours.length);
  room.set(neighbours, neighbours.length + batch.length);
  return room.subarray(neighbours.length, neighbours.length + batch.length);
}

/** One that looks as if the last value went on, and one that ends every search. */
const NEIGHBOURS = [BSON.serialize(everyType).slice(4, 68), new Uint8Array(64)];

/** Compared by hand: two results as objects take longer than all that is tested here. */
function sameResult(one: BatchResult, other: BatchResult): boolean {
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

function encode(bytes: Uint8Array): BatchResult {
  const [first, second] = NEIGHBOURS.map((neighbours) =>
    encodeBatch(of, { source: 0, bytes: between(bytes, neighbours), wallTime: true, collated: [] }),
  );
  assert.ok(sameResult(first!, second!), 'the result depends on what lies around the batch');
  return first!;
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

/** Lanes 4 … 7 are those of the subscription to BSON, whose messages hold several events. */
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

test('damage inside entries never crashes, hangs, reads outside, or harms what lies around it', (t) => {
  const random = new Random(SEED);
  const DAMAGED = 10;
  let parked = 0;
  let events = 0;
  const started = performance.now();
  let slowest = 0;
  for (let cases = 0; cases < CASES; cases += DAMAGED) {
    const bytes = Array.from({ length: DAMAGED }, () => damaged(random, random.of(originals), originals));
    const good = ['before', 'between', 'after'].map((_id, k) => insert(0x7f00_0000 + k, { _id }));
    const expected = expectedOf(good);
    const half = DAMAGED / 2;
    const batch = [good[0]!, ...bytes.slice(0, half), good[1]!, ...bytes.slice(half), good[2]!];
    const before = performance.now();
    const result = encode(batchOf(batch));
    slowest = Math.max(slowest, performance.now() - before);
    checkMessages(result, expected);
    for (const { reason, detail } of result.parked) assert.ok(reason !== 'worker-crash' && detail !== '');
    parked += new Set(result.parked.map(({ entry: one }) => one)).size;
    events += result.events.reduce((sum, count) => sum + count, 0);
  }
  assert.ok(parked > CASES / 4 && parked < CASES, `${parked} parked`);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  t.diagnostic(
    `seed ${SEED}: ${CASES} cases in ${seconds} s, ${parked} parked, ${events} events, slowest batch ${slowest.toFixed(0)} ms`,
  );
});

const known = new Map<string, Buffer>();

/** By lane and increment; the same for every batch. */
function expectedOf(good: readonly Document[]): ReadonlyMap<string, Buffer> {
  if (known.size === 0) {
    for (const one of good) {
      for (const { lane, first, body } of messages(run(of, [one]))) known.set(`${lane}.${first[1]}`, Buffer.from(body));
    }
  }
  return known;
}

test('damage to the frame of a batch is refused as malformed, or harms nothing but the batch', () => {
  const random = new Random(SEED);
  const batches = [
    [insert(1, { _id: 1 }), insert(2, { _id: 2 })],
    originals.slice(0, 5),
    [insert(1, everyType), ...originals.slice(5, 9)],
  ].map((entries) => batchOf(entries));
  let refused = 0;
  for (let round = 0; round < 6_000; round++) {
    let bytes = new Uint8Array(random.of(batches));
    if (random.below(3) === 0) bytes = bytes.slice(0, random.below(bytes.length));
    for (let times = random.below(3); times >= 0 && bytes.length > 0; times--) {
      bytes[random.below(random.below(2) === 0 ? bytes.length : Math.min(40, bytes.length))] = random.below(256);
    }
    const seen = NEIGHBOURS.map((neighbours) => {
      try {
        return run(of, between(bytes, neighbours));
      } catch (error) {
        assert.ok(error instanceof MalformedBson, String(error));
        return error.message;
      }
    });
    const [first, second] = seen;
    if (typeof first === 'object' && typeof second === 'object') assert.ok(sameResult(first, second));
    else {
      assert.equal(first, second);
      refused++;
    }
  }
  assert.ok(refused > 1_500, `${refused} refused`);
});

/** `levels` documents one in the other, the innermost holding `inner`. */
function nested(levels: number, inner: Document = {}, name = 'n'): Document {
  let one = inner;
  for (let k = 0; k < levels; k++) one = { [name]: one };
  return one;
}

function nestedOperations(levels: number): Document {
  let inner: Document = operation(0);
  for (let k = 0; k < levels; k++) inner = { op: 'c', ns: 'admin.$cmd', o: { applyOps: [inner] } };
  return applyOps([inner]);
}

test('a thousand levels of anything are parked; two hundred, which a server stores, are delivered', () => {
  const scope = (levels: number): Code => {
    let code = new Code('f', {});
    for (let k = 0; k < levels; k++) code = new Code('f', { code });
    return code;
  };
  const shapes: readonly ((levels: number) => Document)[] = [
    (levels) => insert(5, { _id: 1, ...nested(levels) }),
    (levels) => insert(5, { _id: nested(levels, { a: 1 }) }),
    (levels) => insert(5, { _id: 1, code: scope(levels) }),
    (levels) => entry(5, { op: 'd', o: { _id: nested(levels) } }),
    (levels) => entry(5, { op: 'u', o: { $v: 2, diff: nested(levels, { u: { a: 1 } }, 'sx') }, o2 }),
    (levels) => entry(5, { op: 'u', o: { $v: 2, diff: { sx: nestedArrayDiff(levels) } }, o2 }),
    (levels) => entry(5, { op: 'u', o: { $v: 2, diff: { u: { a: nested(levels) } } }, o2 }),
    (levels) => entry(5, { op: 'u', o: { $v: 1, $set: { a: nested(levels) } }, o2 }),
    (levels) => applyOps([operation(0, { o: { _id: 1, ...nested(levels) } })]),
  ];
  for (const shape of shapes) {
    for (const [levels, delivered] of [
      [180, true],
      [1000, false],
    ] as const) {
      const result = encode(batchOf([insert(1, { _id: 1 }), shape(levels), insert(9, { _id: 9 })]));
      const wanted = delivered ? [3, 3] : [2, 2];
      assert.deepEqual([...result.events].slice(0, 2), wanted, `${shape.toString()} at ${levels}`);
      if (!delivered) assert.ok(result.parked.every(({ reason }) => reason === 'undecodable'));
    }
  }
  const deep = encode(batchOf([insert(1, { _id: 1 }), nestedOperations(1000), insert(9, { _id: 9 })]));
  assert.ok(deep.parked.length > 0);
  assert.deepEqual([...deep.events], [2, 2, 2]);
});

function nestedArrayDiff(levels: number): Document {
  let one: Document = { a: true, u0: 1 };
  for (let k = 0; k < levels; k++) one = { a: true, s0: one };
  return one;
}
