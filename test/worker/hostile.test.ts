/**
 * Entries that are no BSON, or lie about themselves. Whatever they hold: no crash, no hang, not a byte read outside the batch,
 * what is sent is always valid, and the entries around them arrive as if nothing were there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Binary, Code, Long, ObjectId, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { MalformedBson } from '../../src/worker/bson.ts';
import { Random } from './damage.ts';
import { START_SECONDS, batchOf, entry, insert, run } from './fixtures.ts';
import {
  CASES,
  NEIGHBOURS,
  SEED,
  between,
  campaign,
  encode,
  everyType,
  hostilePlan as of,
  sameResult,
} from './hostile.ts';

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

test('damage inside entries never crashes, hangs, reads outside, or harms what lies around it', (t) => {
  const [before, middle, after] = ['before', 'between', 'after'].map((_id, k) => insert(0x7f00_0000 + k, { _id }));
  campaign(t, { of, originals, good: [before!, middle!, after!], cases: CASES });
});

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
      const result = encode(of, batchOf([insert(1, { _id: 1 }), shape(levels), insert(9, { _id: 9 })]));
      const wanted = delivered ? [3, 3] : [2, 2];
      assert.deepEqual([...result.events].slice(0, 2), wanted, `${shape.toString()} at ${levels}`);
      if (!delivered) assert.ok(result.parked.every(({ reason }) => reason === 'undecodable'));
    }
  }
  const deep = encode(of, batchOf([insert(1, { _id: 1 }), nestedOperations(1000), insert(9, { _id: 9 })]));
  assert.ok(deep.parked.length > 0);
  assert.deepEqual([...deep.events], [2, 2, 2]);
});

function nestedArrayDiff(levels: number): Document {
  let one: Document = { a: true, u0: 1 };
  for (let k = 0; k < levels; k++) one = { a: true, s0: one };
  return one;
}
