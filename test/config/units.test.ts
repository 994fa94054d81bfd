import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, formatDuration, parseBytes, parseDuration } from '../../src/config/units.ts';

test('sizes are read with binary and decimal units, whatever their case', () => {
  for (const [written, bytes] of [
    ['64KiB', 65_536],
    ['1GiB', 2 ** 30],
    ['16 MiB', 16 * 2 ** 20],
    ['1.5kib', 1_536],
    ['1kB', 1_000],
    ['3MB', 3_000_000],
    ['2TiB', 2 ** 41],
    ['12B', 12],
    ['0B', 0],
  ] as const) {
    assert.deepEqual(parseBytes(written), { ok: true, value: bytes }, written);
  }
});

test('a bare number is a size in bytes', () => {
  assert.deepEqual(parseBytes(4096), { ok: true, value: 4096 });
  assert.deepEqual(parseBytes('4096'), { ok: true, value: 4096 });
});

test('times are read in ms, s, m, h and d', () => {
  for (const [written, ms] of [
    ['500ms', 500],
    ['5s', 5_000],
    ['1.5s', 1_500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['0ms', 0],
  ] as const) {
    assert.deepEqual(parseDuration(written), { ok: true, value: ms }, written);
  }
});

test('a bare number is no time, unless it is 0', () => {
  assert.deepEqual(parseDuration(0), { ok: true, value: 0 });
  const refused = parseDuration(5);
  assert.equal(refused.ok, false);
  assert.match(refused.ok ? '' : (refused.hint ?? ''), /needs its unit/);
});

test('what is neither a size nor a time is refused', () => {
  for (const written of [
    '',
    'many',
    '64K',
    '5 parsecs',
    '-1s',
    '-1B',
    '1e3B',
    '1,5s',
    NaN,
    Infinity,
    null,
    true,
    {},
    [],
  ]) {
    assert.equal(parseBytes(written).ok, false, `size ${JSON.stringify(written)}`);
    assert.equal(parseDuration(written).ok, false, `time ${JSON.stringify(written)}`);
  }
  assert.equal(parseBytes('5constructor').ok, false);
});

test('what is formatted reads back as the same amount', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 45), (amount) => {
      assert.deepEqual(parseBytes(formatBytes(amount)), { ok: true, value: amount });
      assert.deepEqual(parseDuration(formatDuration(amount)), { ok: true, value: amount });
    }),
  );
});

test('a quantity that no number holds exactly is refused, not taken for an endless one', () => {
  assert.equal(parseBytes('9'.repeat(400)).ok, false);
  assert.equal(parseDuration(`${'9'.repeat(400)}d`).ok, false);
  assert.equal(parseBytes(1e300).ok, false);
});
