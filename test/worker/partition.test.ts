import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, BSONSymbol, Binary, Decimal128, Double, Int32, Long, MinKey, ObjectId, Timestamp } from 'bson';
import fc from 'fast-check';
import { hashId, hashNamespace, toPartition } from '../../src/worker/partition.ts';
import { scalar } from './arbitraries.ts';

const ns = new TextEncoder().encode('shop.orders');

function hash(id: unknown): number {
  const bytes = BSON.serialize({ _id: id });
  return hashId(hashNamespace(ns), bytes, 4, bytes.length - 1);
}

function partition(id: unknown, partitions = 1024): number {
  return toPartition(hash(id), partitions);
}

// A change here moves events between partitions, which breaks order and checkpoints of everybody who upgrades.
test('the partition of a namespace is fixed', () => {
  const of = (text: string): number => toPartition(hashNamespace(new TextEncoder().encode(text)), 1024);
  assert.deepEqual(['shop.orders', 'shop.events', 'a.b', 'shop.größe'].map(of), [180, 556, 658, 824]);
});

test('the partition of an _id is fixed', () => {
  const ids = [
    new Int32(1),
    new Int32(-7),
    new Double(0.5),
    Long.fromString('9007199254740993'),
    'customer-1',
    new ObjectId('6b02867ff153d8281a8c2fde'),
    new Date(1_795_327_615_756),
    true,
    null,
    { a: new Int32(1), b: 'x' },
    { a: [new Double(1.5), { c: new Int32(2) }] },
    new Binary(new Uint8Array([1, 2, 3]), 0),
    new Timestamp({ t: 1, i: 2 }),
    new MinKey(),
    Decimal128.fromString('NaN'),
    new Double(Infinity),
  ];
  assert.deepEqual(
    ids.map((id) => partition(id)),
    [766, 621, 63, 1002, 549, 147, 451, 683, 69, 938, 325, 815, 626, 491, 927, 213],
  );
});

const equals: readonly (readonly unknown[])[] = [
  [new Int32(1), new Double(1), Long.fromNumber(1), Decimal128.fromString('1'), Decimal128.fromString('1.000')],
  [new Int32(10), Decimal128.fromString('1E1'), Decimal128.fromString('10.0'), Decimal128.fromString('100E-1')],
  [new Double(0.5), Decimal128.fromString('0.5'), Decimal128.fromString('5E-1'), Decimal128.fromString('0.50')],
  [new Int32(0), new Double(-0), Decimal128.fromString('-0'), Decimal128.fromString('0E+100'), Long.ZERO],
  [new Double(Number.NaN), Decimal128.fromString('NaN')],
  [new Double(Infinity), Decimal128.fromString('Infinity')],
  [new Double(2 ** 53), Long.fromString('9007199254740992'), Decimal128.fromString('9007199254740992')],
  [Long.fromString('9007199254740993'), Decimal128.fromString('9007199254740993')],
  [new Double(1e300), Decimal128.fromString('1E+300')],
  [new Double(2 ** 100), Decimal128.fromString('1267650600228229401496703205376')],
  [new Double(-(2 ** 63)), Long.MIN_VALUE, Decimal128.fromString('-9223372036854775808')],
  ['name', new BSONSymbol('name')],
];

test('numbers that the server takes for one key get one partition, whatever their type, at any depth', () => {
  for (const group of equals) {
    const first = hash(group[0]);
    const deep = hash({ a: [{ b: group[0] }] });
    for (const [k, id] of group.entries()) {
      assert.equal(hash(id), first, `${String(group[0])} and number ${k}`);
      assert.equal(hash({ a: [{ b: id }] }), deep, `${String(group[0])} and number ${k}, inside`);
    }
  }
  assert.notEqual(hash(new Int32(1)), hash(new Int32(2)));
  assert.notEqual(hash(new Double(0.5)), hash(new Double(0.25)));
});

test('every long, and every double that a Decimal can hold, hashes like its Decimal', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (n) => {
      assert.equal(hash(Long.fromBigInt(n)), hash(Decimal128.fromString(String(n))));
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 20 }), (n, halvings) => {
      const x = n / 2 ** halvings;
      assert.equal(hash(new Double(x)), hash(Decimal128.fromString(String(x))));
    }),
    { numRuns: 1000 },
  );
});

test('any _id has a partition within the range, and the same one each time', () => {
  fc.assert(
    fc.property(scalar, fc.integer({ min: 1, max: 4096 }), (id, partitions) => {
      const one = partition(id, partitions);
      assert.ok(Number.isInteger(one) && one >= 0 && one < partitions);
      assert.equal(partition(id, partitions), one);
    }),
    { numRuns: 1000 },
  );
});

test('ids that count up spread over the partitions', () => {
  const counts = Array.from({ length: 16 }, () => 0);
  for (let n = 0; n < 16_000; n++) counts[partition(new Int32(n), 16)]!++;
  for (const count of counts) assert.ok(count > 800 && count < 1200, String(counts));
});
