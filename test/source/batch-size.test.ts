import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchSize } from '../../src/source/batch-size.ts';

test('it begins with 1,000 and aims at replies of 2 MiB', () => {
  const size = new BatchSize();
  assert.equal(size.entries, 1_000);
  size.note(512 * 1_000, 1_000);
  assert.equal(size.entries, 4_096);
});

test('large entries make it smaller at once, small ones larger only by and by', () => {
  const size = new BatchSize();
  size.note(512 * 1_000, 1_000);
  size.note(100_000 * 10, 10);
  assert.equal(size.entries, 50);
  size.note(512 * 1_000, 1_000);
  assert.equal(size.entries, 50);
  for (let one = 0; one < 40; one += 1) size.note(512 * 1_000, 1_000);
  assert.equal(size.entries > 4_000, true);
});

test('it stays between 50 and 20,000, and an empty reply changes nothing', () => {
  const size = new BatchSize();
  size.note(5, 0);
  assert.equal(size.entries, 1_000);
  size.note(16_000_000, 1);
  assert.equal(size.entries, 50);
  for (let one = 0; one < 200; one += 1) size.note(20, 1);
  assert.equal(size.entries, 20_000);
});
