import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStart } from '../../src/config/start.ts';

const NOON = Date.UTC(2026, 10, 22, 12) / 1000;

test('latest and earliest are what they say', () => {
  assert.deepEqual(parseStart('latest'), { kind: 'latest' });
  assert.deepEqual(parseStart('earliest'), { kind: 'earliest' });
});

test('"seconds:increment" begins right behind that entry', () => {
  assert.deepEqual(parseStart('1795327615:2'), {
    kind: 'from',
    ts: { seconds: 1_795_327_615, increment: 3 },
    written: '1795327615:2',
  });
  assert.deepEqual(parseStart('7:4294967295'), {
    kind: 'from',
    ts: { seconds: 8, increment: 0 },
    written: '7:4294967295',
  });
});

test('a date begins at its second, in UTC where it names no zone', () => {
  for (const [written, seconds] of [
    ['2026-11-22', NOON - 12 * 3600],
    ['2026-11-22T12:00:00Z', NOON],
    ['2026-11-22T12:00:00', NOON],
    ['2026-11-22T12:00', NOON],
    ['2026-11-22 12:00:00.999Z', NOON],
    ['2026-11-22T13:30:00+01:30', NOON],
    ['2026-11-22T07:00:00-0500', NOON],
  ] as const) {
    assert.deepEqual(parseStart(written), { kind: 'from', ts: { seconds, increment: 0 }, written }, written);
  }
});

test('dates that do not exist and other texts are no start', () => {
  for (const written of [
    '',
    'now',
    '2026-02-30',
    '2026-13-01',
    '2026-11-22T24:00:00Z',
    '2026-11-22T12:60:00Z',
    '1969-12-31',
    '2107-01-01',
    '1795327615',
    '1795327615:',
    '9999999999:1',
    '1:2:3',
  ]) {
    assert.equal(parseStart(written), undefined, written);
  }
});
