import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON } from 'bson';
import type { Document } from 'bson';
import { applyUpdate } from '../../src/worker/apply-diff.ts';
import { MalformedBson } from '../../src/worker/bson.ts';
import { Documents } from '../../src/worker/documents.ts';
import { Random, damaged } from './damage.ts';

const DAMAGED = 20_000;
const SEED = Number(process.env['TAILRACE_SEED'] ?? Math.floor(Math.random() * 1e9));

/** What the document becomes; bytes, since objects of JavaScript sort names that look like numbers. */
function after(before: Uint8Array, o: Uint8Array): Uint8Array {
  const bytes = Buffer.concat([before, o]);
  const out = new Documents();
  const places = { before: 0, beforeLimit: before.length, o: before.length, limit: bytes.length };
  const at = applyUpdate(out, bytes, places);
  return out.bytes.subarray(at, out.length);
}

function applied(before: Document, diff: Document): Document {
  return BSON.deserialize(after(BSON.serialize(before), BSON.serialize({ $v: 2, diff })));
}

test('fields keep their places, updated ones too; new ones come last, removed ones go', () => {
  const became = applied({ _id: 1, a: 1, b: 2, c: 3 }, { d: { b: false }, u: { a: 'x' }, i: { z: 0, y: 1 } });
  assert.deepEqual(Object.entries(became), [
    ['_id', 1],
    ['a', 'x'],
    ['c', 3],
    ['z', 0],
    ['y', 1],
  ]);
});

test('diffs of what a field holds: of documents, of arrays and of documents in arrays', () => {
  const before = { _id: 1, o: { p: { q: 1, r: 2 } }, list: [1, { k: 1 }, 3, 4] };
  assert.deepEqual(
    applied(before, {
      so: { sp: { u: { q: 5 }, d: { r: false } } },
      slist: { a: true, l: 3, u0: 'x', s1: { i: { v: 2 } } },
    }),
    { _id: 1, o: { p: { q: 5 } }, list: ['x', { k: 1, v: 2 }, 3] },
  );
  // An array that grows beyond its end is filled with nulls.
  assert.deepEqual(applied({ list: [1] }, { slist: { a: true, u3: 9 } }), { list: [1, null, null, 9] });
});

test('fields that are called as sections are, or as numbers, are fields', () => {
  assert.deepEqual(
    applied({ a: { u: 1, '0': 2 }, u: 1, s0: 3 }, { sa: { u: { u: 5 } }, u: { u: 2 }, d: { s0: false } }),
    {
      a: { u: 5, '0': 2 },
      u: 2,
    },
  );
});

/** As servers up to 4.4 write updates. */
function modified(before: Document, o: Document): [string, unknown][] {
  return Object.entries(BSON.deserialize(after(BSON.serialize(before), BSON.serialize({ $v: 1, ...o }))));
}

test('$set and $unset: fields keep their places, new ones come behind them in the order of their names', () => {
  const before = { _id: 1, z: 1, o: { p: 1, q: 2 }, y: 2 };
  assert.deepEqual(
    modified(before, {
      $set: { n: 1, m: 2, z: 'x', 'o.r': 3, 'o.q': 4, 'new.b.c': 1, 'new.a': 2 },
      $unset: { y: true },
    }),
    [
      ['_id', 1],
      ['z', 'x'],
      ['o', { p: 1, q: 4, r: 3 }],
      ['m', 2],
      ['n', 1],
      ['new', { a: 2, b: { c: 1 } }],
    ],
  );
  // Names that are numbers come in the order of those.
  const bytes = after(
    BSON.serialize({ o: {} }),
    BSON.serialize({ $set: { 'o.x10': 1, 'o.9': 1, 'o.10': 1, 'o.x9': 1 } }),
  );
  assert.match(Buffer.from(bytes).toString('latin1'), /9\0.*10\0.*x10\0.*x9\0/s);
});

test('$set and $unset in arrays: by their places, with nulls up to them; what leads nowhere is passed over', () => {
  const before = { list: [1, { k: 1 }, 3], n: 5, text: 'abc' };
  assert.deepEqual(
    Object.fromEntries(
      modified(before, {
        $set: { 'list.1.k': 2, 'list.5': 'six', 'list.x': 1, 'n.a': 1, 'none.0.a': 1 },
        $unset: { 'list.0': true, 'list.9': true, 'text.a': true, 'nobody.a': true },
      }),
    ),
    { list: [null, { k: 2 }, 3, null, null, 'six'], n: 5, text: 'abc', none: { 0: { a: 1 } } },
  );
});

test('what is no update is refused', () => {
  const before = BSON.serialize({ _id: 1, a: 1 });
  for (const o of [
    { a: 2 },
    { $set: { a: 2 }, $unset: { 'a.b': true } },
    { $set: 5 },
    { $v: 2, diff: 5 },
    { $v: 2, diff: { x: { a: 1 } } },
    { $v: 2, diff: { b: {} } },
  ]) {
    assert.throws(() => after(before, BSON.serialize(o)), MalformedBson);
  }
});

test(`${DAMAGED} damaged updates and documents are applied or refused, and nothing else`, (t) => {
  t.diagnostic(`TAILRACE_SEED=${SEED}`);
  const random = new Random(SEED);
  const befores = [
    { _id: 1, o: { p: { q: 1, r: [1, 2, { x: 1 }] } }, list: [1, { k: 1 }, 3, 4], text: 'abc' },
    { _id: 'x', list: [[1, [2]], null], b: Buffer.from('bytes'), o: { '0': 1, a: true } },
  ].map((one) => BSON.serialize(one));
  const diffs = [
    { so: { sp: { u: { q: 5 }, d: { r: false } } }, slist: { a: true, l: 3, u0: 'x', s1: { i: { v: 2 } } } },
    { u: { text: 1, o: {} }, i: { z: { deep: [1] } }, d: { _id: false }, slist: { a: true, s0: { a: true, u7: 1 } } },
  ].map((diff) => BSON.serialize({ $v: 2, diff }));
  diffs.push(
    BSON.serialize({ $v: 1, $set: { 'o.p.q': 1, 'list.1.k': 2, 'list.7': 1, x: [1] }, $unset: { text: true } }),
  );
  const counts = { applied: 0, refused: 0 };
  for (let n = 0; n < DAMAGED; n++) {
    const before = random.below(2) === 0 ? random.of(befores) : damaged(random, random.of(befores), befores);
    const o = random.below(3) === 0 ? random.of(diffs) : damaged(random, random.of(diffs), diffs);
    try {
      after(before, o);
      counts.applied += 1;
    } catch (error) {
      if (!(error instanceof MalformedBson)) throw error;
      counts.refused += 1;
    }
  }
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.applied > 0 && counts.refused > 0, JSON.stringify(counts));
});
