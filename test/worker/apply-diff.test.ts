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

test('what is no diff is refused', () => {
  const before = BSON.serialize({ _id: 1, a: 1 });
  for (const o of [
    { $set: { a: 2 } },
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
