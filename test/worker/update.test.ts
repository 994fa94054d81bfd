import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, EJSON, Long, ObjectId } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import { fieldName, value } from './arbitraries.ts';
import { entry, jsonEvents, messages, plan, run } from './fixtures.ts';

const key = { _id: new ObjectId('6b02867ff153d8281a8c2fde') };

function described(o: Document): Document | undefined {
  const result = run(plan(), [entry(1, { op: 'u', o, o2: key })]);
  assert.deepEqual(result.parked, []);
  return jsonEvents(result)[0]!['updateDescription'];
}

function diff(of: Document): Document | undefined {
  return described({ $v: 2, diff: of });
}

test('a diff as a server writes it becomes dotted paths, in its order', () => {
  const seen = diff({
    d: { s: false },
    u: { t: 2 },
    i: { n: 1 },
    sarr: { a: true, u0: 9, s2: { u: { k: 5 } } },
    so: { sq: { u: { r: 2 } } },
  });
  assert.equal(
    JSON.stringify(seen),
    '{"updatedFields":{"t":2,"n":1,"arr.0":9,"arr.2.k":5,"o.q.r":2},"removedFields":["s"],"truncatedArrays":[]}',
  );
});

test('a truncated array is named with its new length, also inside another array', () => {
  assert.deepEqual(diff({ sa: { a: true, l: 2, u0: 1, s1: { sb: { a: true, l: 0 } } } }), {
    updatedFields: { 'a.0': 1 },
    removedFields: [],
    truncatedArrays: [
      { field: 'a', newSize: 2 },
      { field: 'a.1.b', newSize: 0 },
    ],
  });
});

test("user fields named like the diff's own sections are fields", () => {
  const u = { a: 1, u: 2, l: 3, s0: 4, '0': 5, 'x.y': 6, d: 7, i: 8, '': 9 };
  assert.deepEqual(diff({ u })!['updatedFields'], u);
  assert.deepEqual(diff({ d: { a: false, d: false, s0: false } })!['removedFields'], ['a', 'd', 's0']);
  assert.deepEqual(
    diff({ sa: { u: { a: true } }, su: { i: { l: 1 } }, s: { d: { s: false } }, ss0: { u: { x: 1 } } }),
    {
      updatedFields: { 'a.a': true, 'u.l': 1, 's0.x': 1 },
      removedFields: ['.s'],
      truncatedArrays: [],
    },
  );
  // A document whose first updated field is called "a" is no array.
  assert.deepEqual(diff({ sx: { u: { a: true }, i: { u0: 1 } } })!['updatedFields'], { 'x.a': true, 'x.u0': 1 });
});

test('an update of a server up to 4.4 has its dotted names as they are, and no truncatedArrays', () => {
  assert.deepEqual(described({ $v: 1, $unset: { 'b.c': true, d: true }, $set: { 'a.b': 1, 'arr.0': { x: 2 } } }), {
    updatedFields: { 'a.b': 1, 'arr.0': { x: 2 } },
    removedFields: ['b.c', 'd'],
  });
});

test('values of every type arrive in updatedFields as in a document, as JSON and as BSON', () => {
  fc.assert(
    fc.property(fc.dictionary(fieldName, value, { minKeys: 1, maxKeys: 5 }), fieldName, (fields, outer) => {
      const o = { $v: 2, diff: { [`s${outer}`]: { u: fields } } };
      const e = entry(1, { op: 'u', o, o2: key });
      const updatedFields = Object.fromEntries(Object.entries(fields).map(([name, one]) => [`${outer}.${name}`, one]));
      const result = run(plan([{ format: 'json-canonical' }, { format: 'bson' }, { operations: ['insert'] }]), [e]);
      const [asJson, asBson] = messages(result);
      const same = (doc: Document): string =>
        EJSON.stringify(BSON.deserialize(BSON.serialize(doc), { promoteValues: false, bsonRegExp: true }), {
          relaxed: false,
        });
      const seen: Document = JSON.parse(Buffer.from(asJson!.body).toString());
      assert.equal(canonical(JSON.stringify(seen['updateDescription'].updatedFields)), canonical(same(updatedFields)));
      const decoded = BSON.deserialize(asBson!.body, { promoteValues: false, bsonRegExp: true });
      const description: Document = decoded['updateDescription'];
      assert.equal(EJSON.stringify(description['updatedFields'], { relaxed: false }), same(updatedFields));
    }),
    { numRuns: 500 },
  );
});

/** Large doubles may be written with different digits of the same number. */
function canonical(written: string): string {
  return JSON.stringify(
    JSON.parse(written, (name, one: unknown) => (name === '$numberDouble' ? String(Number(one)) : one)),
  );
}

test('an update that this version cannot read is parked, and the next one goes on', () => {
  const bad = [
    { $v: 3, diff: {} },
    { $v: 2, diff: { x: { a: 1 } } },
    { $v: 2, diff: { u: 1 } },
    { $v: 2, diff: { sarr: { a: true, z: 1 } } },
    { $v: 2, diff: { a: true, u0: 1 } },
    { $v: 1, $inc: { a: 1 } },
  ];
  const entries = bad.map((o, k) => entry(k + 1, { op: 'u', o, o2: key }));
  const good = entry(9, { op: 'u', o: { $v: 2, diff: { u: { a: 1 } } }, o2: key });
  const result = run(plan(), [...entries, good]);
  assert.deepEqual(
    result.parked.map(({ id, reason }) => [id, reason]),
    bad.map((_, k) => [`shop:1795327615.${k + 1}.0`, 'undecodable']),
  );
  assert.equal(jsonEvents(result).length, 1);
});

test('dotted paths that would grow without bound are measured, not written', () => {
  const inner = Object.fromEntries(Array.from({ length: 2000 }, (_, k) => [`f${k}`, 1]));
  const o = { $v: 2, diff: { [`s${'x'.repeat(20_000)}`]: { u: inner } } };
  const result = run(plan([{ maxMessageBytes: 1_000_000 }]), [entry(1, { op: 'u', o, o2: key })]);
  assert.deepEqual(
    result.parked.map(({ reason }) => reason),
    ['too-large'],
  );
});

test('arrays in arrays, cut and set at once, keep their places; sections that say nothing give nothing', () => {
  const inner = { a: true, l: 1, u0: { a: true }, s1: { sx: { a: true, u10: [1], s2: { d: { l: false } } } } };
  assert.deepEqual(
    diff({ u: { first: 1 }, sm: { a: true, s0: inner, u3: null }, so: { sl: { sa: { u: { 'x.y': 1 } } } } }),
    {
      updatedFields: { first: 1, 'm.0.0': { a: true }, 'm.0.1.x.10': [1], 'm.3': null, 'o.l.a.x.y': 1 },
      removedFields: ['m.0.1.x.2.l'],
      truncatedArrays: [{ field: 'm.0', newSize: 1 }],
    },
  );
  const nothing = { updatedFields: {}, removedFields: [], truncatedArrays: [] };
  for (const one of [{}, { u: {}, d: {}, i: {} }, { sa: {} }, { sa: { a: true } }, { sa: { su: { d: {} } } }]) {
    assert.deepEqual(diff(one), nothing);
  }
  assert.deepEqual(described({ $v: 1, $set: {} }), { updatedFields: {}, removedFields: [] });
  // Servers before 3.6 and tools leave `$v` out.
  assert.deepEqual(described({ $set: { a: 1 } }), { updatedFields: { a: 1 }, removedFields: [] });
});

test('the same fields in every section and under every name that a section has', () => {
  const letters = ['a', 'u', 'l', 'd', 'i', 'b', 's', 's0', '0', 'x.y', '$v', 'diff', ''];
  const fields = Object.fromEntries(letters.map((name) => [name, 1]));
  const seen = diff({
    d: fields,
    u: fields,
    i: fields,
    ...Object.fromEntries(letters.map((name) => [`s${name}`, { u: fields }])),
  })!;
  assert.deepEqual(new Set(seen['removedFields']), new Set(letters));
  const nested = letters.flatMap((outer) => letters.map((name) => `${outer}.${name}`));
  assert.deepEqual(new Set(Object.keys(seen['updatedFields'])), new Set([...letters, ...nested]));
  const old = described({ $v: 1, $unset: fields, $set: fields })!;
  assert.deepEqual(old, { updatedFields: fields, removedFields: Object.keys(fields) });
});

test('a diff that no server writes is parked, not guessed at', () => {
  const long = (n: number): Long => Long.fromNumber(n);
  const bad = [
    // What a binary value became cannot be told from a change inside it.
    { b: { data: { o: 3, d: Buffer.from('x') } } },
    { sx: { b: { data: 1 } } },
    { sx: { a: true, l: -1 } },
    { sx: { a: true, l: long(2 ** 31) } },
    { sx: { a: true, l: 1.5 } },
    { sx: { a: true, l: Number.NaN } },
    { sx: { a: true, l: 'one' } },
    { sx: { a: true, ux: 1 } },
    { sx: { a: true, u: 1 } },
    { sx: { a: true, 's-1': { u: {} } } },
    { sx: { a: true, u1: 1, d: { x: false } } },
    { sx: { u: { x: 1 }, a: true } },
    { sx: 1 },
    { d: 1 },
    { uu: { a: 1 } },
    { z: {} },
  ];
  const entries = bad.map((one, k) => entry(k + 1, { op: 'u', o: { $v: 2, diff: one }, o2: key }));
  const good = entry(90, { op: 'u', o: { $v: 2, diff: { sx: { a: true, l: long(2), u1: 1 } } }, o2: key });
  const result = run(plan([{}, { format: 'bson' }]), [...entries, good]);
  assert.deepEqual(
    result.parked.map(({ subscription, reason }) => [subscription, reason]),
    [0, 1].flatMap((subscription) => bad.map(() => [subscription, 'undecodable'])),
  );
  assert.match(result.parked[0]!.detail, /inside a binary value/);
  assert.deepEqual([...result.events], [1, 1]);
});
