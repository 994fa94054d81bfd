import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpareBuffers } from '../../src/worker/spare-buffers.ts';

const MIB = 2 ** 20;

test('a buffer that was given back is taken again, and by one taker only', () => {
  const spare = new SpareBuffers(8 * MIB);
  const buffer = spare.take(2 * MIB);
  spare.give(buffer);
  assert.equal(spare.take(2 * MIB), buffer);
  assert.notEqual(spare.take(2 * MIB), buffer);
});

test('what is taken is large enough, and of those that are the smallest', () => {
  const spare = new SpareBuffers(32 * MIB);
  const sizes = [4, 1, 2].map((mib) => new ArrayBuffer(mib * MIB));
  for (const buffer of sizes) spare.give(buffer);
  assert.equal(spare.take(1.5 * MIB), sizes[2]);
  assert.equal(spare.take(1.5 * MIB), sizes[0]);
  assert.ok(spare.take(1.5 * MIB).byteLength >= 1.5 * MIB);
});

test('no more is kept than the limit, whatever is given back', () => {
  const spare = new SpareBuffers(4 * MIB);
  for (let n = 0; n < 10; n++) spare.give(new ArrayBuffer(MIB));
  spare.give(new ArrayBuffer(100 * MIB));
  assert.ok(spare.bytes <= 4 * MIB);
});

test('one that was sent away, and so has no bytes, is not kept', () => {
  const spare = new SpareBuffers(4 * MIB);
  const buffer = new ArrayBuffer(MIB);
  structuredClone(buffer, { transfer: [buffer] });
  spare.give(buffer);
  assert.equal(spare.bytes, 0);
});
