import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as BSON from 'bson';
import fc from 'fast-check';
import { readReply } from '../../src/source/reply.ts';

function cursorOf(entries: readonly BSON.Document[], { id = 7n, field = 'nextBatch' } = {}): Uint8Array {
  return BSON.serialize({ id, ns: 'local.oplog.rs', [field]: entries }, { ignoreUndefined: false });
}

test('the batch is found, its entries are counted and the last one is known', () => {
  const entry = (i: number): BSON.Document => ({
    op: 'i',
    o: { _id: i, ts: 'not this one', t: 4 },
    ts: new BSON.Timestamp({ t: 4_000_000_000, i }),
    t: BSON.Long.fromNumber(2 ** 40 + i),
  });
  for (const field of ['firstBatch', 'nextBatch']) {
    const reply = readReply(cursorOf([entry(1), entry(2), entry(4_294_967_295)], { field }));
    assert.equal(reply.cursorId, 7n);
    assert.equal(reply.entries, 3);
    assert.deepEqual(reply.last, {
      ts: { seconds: 4_000_000_000, increment: 4_294_967_295 },
      t: 2 ** 40 + 4_294_967_295,
    });
    const batch = BSON.deserialize(reply.batch);
    assert.deepEqual(batch['2'].op, 'i');
  }
});

test('an empty reply has no last entry, and a closed cursor the id 0', () => {
  assert.deepEqual(
    { ...readReply(cursorOf([], { id: 0n })), batch: undefined },
    {
      cursorId: 0n,
      batch: undefined,
      entries: 0,
      last: undefined,
    },
  );
});

test('a cursor id keeps all its 64 bits', () => {
  for (const id of [2n ** 63n - 1n, -5n, 2n ** 32n, 0x8000_0000n]) {
    assert.equal(readReply(cursorOf([], { id })).cursorId, id);
  }
});

test('an entry without a term has the term -1', () => {
  const reply = readReply(cursorOf([{ ts: new BSON.Timestamp({ t: 5, i: 6 }), op: 'n' }]));
  assert.deepEqual(reply.last, { ts: { seconds: 5, increment: 6 }, t: -1 });
});

test('whatever kinds of values come before ts and t are skipped', () => {
  const value = fc.oneof(
    fc.double(),
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array().map((bytes) => new BSON.Binary(bytes, 4)),
    fc.constantFrom<unknown>(
      new BSON.ObjectId(),
      new BSON.MinKey(),
      new BSON.MaxKey(),
      new BSON.Code('x', { ts: 1 }),
      new BSON.Code('x'),
      new BSON.BSONSymbol('s'),
      new BSON.BSONRegExp('a.b', 'i'),
      new BSON.DBRef('c', new BSON.ObjectId()),
      BSON.Decimal128.fromString('1.5'),
      undefined,
    ),
    fc.array(fc.integer()),
    fc.dictionary(fc.string(), fc.integer()),
  );
  const name = fc
    .string()
    .filter((text) => !text.includes('\0') && text !== 'ts' && text !== 't' && !/^\d+$/.test(text));
  fc.assert(
    fc.property(fc.dictionary(name, value), fc.integer({ min: -1, max: 1_000 }), (fields, t) => {
      const last = { ...fields, ts: new BSON.Timestamp({ t: 9, i: 8 }), t: BSON.Long.fromNumber(t), wall: new Date() };
      const reply = readReply(cursorOf([last, last]));
      assert.equal(reply.entries, 2);
      assert.deepEqual(reply.last, { ts: { seconds: 9, increment: 8 }, t });
    }),
  );
});

test('a reply that is cut short is an error, not an endless walk', () => {
  const whole = cursorOf([{ ts: new BSON.Timestamp({ t: 1, i: 1 }), t: 1 }]);
  assert.throws(() => readReply(whole.subarray(0, 30)));
});

test('a length that leads back, or out of the reply, is an error, not a walk in a circle', () => {
  const whole = cursorOf([{ _id: 1, ts: new BSON.Timestamp({ t: 1, i: 1 }), t: 1 }]);
  const first = Buffer.from(whole).indexOf(Buffer.from([0x10, 0x5f, 0x69, 0x64])) - 4;
  for (const length of [-7, 0, 4, 0x7fff_ffff]) {
    const lying = Buffer.from(whole);
    lying.writeInt32LE(length, first);
    assert.throws(() => readReply(lying), /a length that cannot be/);
  }
});
