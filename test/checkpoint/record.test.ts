import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from 'node:zlib';
import {
  array,
  assert as assertProperty,
  constant,
  integer,
  oneof,
  option,
  property,
  record as object,
  string,
} from 'fast-check';
import {
  decodeCheckpoint,
  decodeGap,
  decodeParked,
  encodeCheckpoint,
  encodeGap,
  encodeParked,
} from '../../src/checkpoint/record.ts';
import { checkpoint, parked } from './fixtures.ts';

test('a checkpoint comes back from its stored form exactly as it was', () => {
  const plain = { noNullPrototype: true };
  const u32 = integer({ min: 0, max: 0xffff_ffff });
  const ts = object({ seconds: u32, increment: u32 }, plain);
  const lane = option(object({ ts, index: u32 }, plain), { nil: undefined });
  const resume = oneof(
    object({ kind: constant('after' as const), ts, t: integer({ min: -1, max: 1e9 }) }, plain),
    object({ kind: constant('from' as const), ts }, plain),
  );
  const watermark = option(object({ ts, t: integer({ min: -1 }), index: u32 }, plain), { nil: undefined });
  assertProperty(
    property(array(lane), resume, watermark, string(), (lanes, resume, watermark, subscription) => {
      const record = { ...checkpoint(subscription, 1), lanes, resume, watermark };
      assert.deepEqual(decodeCheckpoint(encodeCheckpoint(record)), record);
    }),
  );
});

test('gaps and parked events come back as they were', () => {
  const from = { seconds: 1, increment: 2 };
  const gap = { source: 's', subscription: 'o', from, to: { seconds: 9, increment: 0 }, reason: 'truncated', at: 5 };
  assert.deepEqual(decodeGap(encodeGap(gap)), gap);
  const { payload, ...summary } = parked('shop:1.2.0', { contentType: 'application/json' });
  assert.deepEqual(decodeParked(encodeParked(summary, payload.byteLength)), { summary, bytes: payload.byteLength });
});

test('any flipped bit in a stored record is noticed', () => {
  const bytes = encodeCheckpoint(checkpoint('orders', 1_795_327_615));
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    assert.throws(() => decodeCheckpoint(flipped), { name: 'DamagedRecordError' });
  }
  assert.throws(() => decodeCheckpoint(Buffer.alloc(0)), { name: 'DamagedRecordError' });
});

test('a record of a later version is refused with what to do', () => {
  const bytes = encodeCheckpoint(checkpoint('orders', 1));
  bytes.writeUInt8(2, 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  assert.throws(() => decodeCheckpoint(bytes), {
    code: 'store-newer',
    message: /later version.*move the folder away/s,
  });
});
