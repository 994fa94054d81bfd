import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Floors, allBefore, earliest, floorOf } from '../../src/lanes/floors.ts';
import type { ResumePoint } from '../../src/source/position.ts';

const WHOLE = 0xffff_ffff;
const ts = { seconds: 100, increment: 5 };
const before = { ts: { seconds: 100, increment: 4 }, index: WHOLE };
const token = (index: number): ResumePoint => ({ kind: 'token', ts, token: { data: '', index, watch: 'shop' } });

test('an event’s token has done what stands before it, a high-water mark nothing of its time', () => {
  assert.deepEqual(floorOf({ resume: token(3), watermark: undefined }), { ts, index: 3 });
  assert.deepEqual(floorOf({ resume: token(-1), watermark: undefined }), before);
  const boundary = floorOf({ resume: { kind: 'from', ts }, watermark: { ts, t: -1, index: 3 } });
  assert.deepEqual([boundary.ts, boundary.index], [ts, 3]);
});

test('reading begins where the least of a transaction is done', () => {
  const from: ResumePoint = { kind: 'from', ts };
  const after: ResumePoint = { kind: 'after', ts, t: 1 };
  assert.deepEqual(earliest([token(3), token(1), after]), token(1));
  assert.deepEqual(earliest([token(0), token(-1)]), token(-1));
  assert.deepEqual(earliest([token(0), from]), from);
});

test('a lane that is further than its subscription keeps its floor', () => {
  const lanes = [{ ts, index: 7 }, undefined, { ts, index: 1 }];
  const { table, end } = Floors.of(new Map([[1, { resume: token(3), watermark: undefined, lanes }]]), 2, 3);
  // Nobody has number 0, so nothing is wanted for it.
  const none = Array.from({ length: 9 }, () => 0xffff_ffff);
  assert.deepEqual([...table], [...none, 100, 5, 7, 100, 5, 3, 100, 5, 3]);
  assert.deepEqual(end, ts);
});

test('one that joins wants what lies behind where it was, the others what they wanted, and one that left nothing', () => {
  const floor = { ts: { seconds: 200, increment: 1 }, index: 4 };
  const before = Floors.of(new Map([[0, { resume: token(3), watermark: undefined, lanes: [] }]]), 1, 1);
  const joined = Floors.joined(before, { number: 2, floor, size: 3, partitions: 1 });
  assert.deepEqual([...joined.table], [100, 5, 3, 0, 0, 0, 200, 1, 4]);
  assert.deepEqual(joined.end, floor.ts);
  joined.leave(0, 1);
  assert.deepEqual([...joined.table.subarray(0, 3)], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff]);
  const alone = Floors.joined(undefined, { number: 0, floor, size: 2, partitions: 1 });
  assert.deepEqual([...alone.table], [200, 1, 4, 0, 0, 0]);
});

test('where shards share positions, only what stands before one is known to be done', () => {
  assert.deepEqual(allBefore({ ts, index: 2 }), { ts, index: 1 });
  assert.deepEqual(allBefore({ ts, index: 0 }), before);
});

test('where shards share a position, the token that comes first is the earliest', () => {
  const of = (data: string): ResumePoint => ({ kind: 'token', ts, token: { data, index: -1, watch: 'deployment' } });
  const mark = of('8200000064000000052B0229296E04');
  const one = of('8200000064000000052B022C0100296E5A1004AA');
  const other = of('8200000064000000052B022C0100296E5A1004BB');
  assert.equal(earliest([other, mark]), mark);
  assert.equal(earliest([other, one, mark]), mark);
  assert.equal(earliest([other, one]), one);
});
