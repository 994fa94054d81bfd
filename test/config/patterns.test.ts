import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { globsIntersect, overlapOf, patternFault, splitPatterns } from '../../src/config/patterns.ts';
import { compilePatterns } from '../../src/worker/pattern.ts';

test('a pattern is "db.coll" with stars anywhere, and may exclude', () => {
  for (const pattern of [
    'shop.orders',
    'shop.*',
    '*',
    '*.orders',
    'shop*',
    'shop.a.b',
    '!shop.tmp_*',
    '!*.system.buckets.*',
  ]) {
    assert.equal(patternFault(pattern), undefined, pattern);
  }
  for (const pattern of ['', '!', 'shop', '.orders', 'shop.', '!!shop.x', ' shop.x', 'shop.\0']) {
    assert.notEqual(patternFault(pattern), undefined, JSON.stringify(pattern));
  }
});

test('the packed collections of time series cannot be asked for', () => {
  assert.match(patternFault('metrics.system.buckets.cpu') ?? '', /time-series/);
  assert.match(patternFault('*.system.buckets.*') ?? '', /time-series/);
});

test('two patterns intersect exactly when some text matches both', () => {
  for (const [a, b, expected] of [
    ['shop.orders', 'shop.orders', true],
    ['shop.orders', 'shop.order', false],
    ['shop.*', 'shop.orders', true],
    ['shop.*', 'crm.*', false],
    ['*.orders', 'shop.*', true],
    ['*.orders', 'shop.*_tmp', false],
    ['a*b', '*ab', true],
    ['a*c', 'a*b', false],
    ['*', '*', true],
    ['**', '', true],
    ['*a*', '*b*', true],
    ['x*y*z', 'xz', false],
  ] as const) {
    assert.equal(globsIntersect(a, b), expected, `${a} ∩ ${b}`);
    assert.equal(globsIntersect(b, a), expected, `${b} ∩ ${a}`);
  }
});

test('two lists overlap through what neither excludes', () => {
  const overlap = (a: string[], b: string[]): boolean => overlapOf(splitPatterns(a), splitPatterns(b)) !== undefined;
  assert.equal(overlap(['shop.*'], ['shop.orders']), true);
  assert.equal(overlap(['shop.*', '!shop.orders'], ['shop.orders']), false);
  assert.equal(overlap(['shop.*', '!shop.o*'], ['shop.orders*']), false);
  assert.equal(overlap(['shop.orders', '!shop.o*'], ['shop.*']), false);
  assert.equal(overlap(['shop.*', '!shop.orders_x'], ['shop.orders*']), true);
  assert.equal(overlap(['shop.orders'], ['shop.*', '!*']), false);
});

// Few letters, so that matches are frequent.
const glob = fc
  .array(fc.constantFrom('a', 'b', '.', '*'), { minLength: 1, maxLength: 6 })
  .map((parts) => parts.join(''));
const text = fc.array(fc.constantFrom('a', 'b', '.'), { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
const list = fc
  .tuple(fc.array(glob, { minLength: 1, maxLength: 3 }), fc.array(glob, { maxLength: 2 }))
  .map(([includes, excludes]) => [...includes, ...excludes.map((exclude) => `!${exclude}`)]);

test('whatever namespace two lists both match, they are said to overlap', () => {
  let hits = 0;
  fc.assert(
    fc.property(list, list, text, (a, b, namespace) => {
      if (!compilePatterns(a)(namespace) || !compilePatterns(b)(namespace)) return;
      hits++;
      assert.notEqual(overlapOf(splitPatterns(a), splitPatterns(b)), undefined);
    }),
    { numRuns: 20_000 },
  );
  assert.ok(hits > 200, `only ${hits} of the tries matched both`);
});

test('patterns that intersect have a short text in common, and the others have none', () => {
  // Every text of up to five letters: enough for two patterns of up to three.
  const texts = [''];
  for (let from = 0, length = 1; length <= 5; length++) {
    const to = texts.length;
    for (; from < to; from++) for (const letter of ['a', 'b']) texts.push(texts[from] + letter);
  }
  const short = fc.array(fc.constantFrom('a', 'b', '*'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(short, short, (a, b) => {
      const [inA, inB] = [compilePatterns([a]), compilePatterns([b])];
      assert.equal(
        globsIntersect(a, b),
        texts.some((one) => inA(one) && inB(one)),
      );
    }),
    { numRuns: 1_000 },
  );
});
