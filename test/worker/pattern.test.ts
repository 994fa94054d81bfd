import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePatterns } from '../../src/worker/pattern.ts';

test('a star stands for any characters, dots too', () => {
  const matches = compilePatterns(['shop.*']);
  assert.equal(matches('shop.orders'), true);
  assert.equal(matches('shop.orders.archive'), true);
  assert.equal(matches('shops.orders'), false);
});

test('an exclusion wins wherever it stands', () => {
  const matches = compilePatterns(['!shop.tmp_*', 'shop.*']);
  assert.equal(matches('shop.orders'), true);
  assert.equal(matches('shop.tmp_1'), false);
});

test('nothing but exclusions matches nothing', () => {
  assert.equal(compilePatterns(['!shop.tmp'])('shop.orders'), false);
});

test('every other character stands for itself', () => {
  const odd = String.raw`a-b.c+d?(e)[f]{g}|h^i$j\k/l`;
  const matches = compilePatterns([odd]);
  assert.equal(matches(odd), true);
  assert.equal(matches('a-b.ccd'), false);
});
