import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Backoff } from '../src/backoff.ts';
import { sleep } from '../src/waits.ts';

test('the first tries follow quickly, then one a second', () => {
  const backoff = new Backoff({ random: () => 1, now: () => 0 });
  assert.deepEqual(
    Array.from({ length: 6 }, () => backoff.next()),
    [100, 200, 400, 800, 1_000, 1_000],
  );
});

test('a pause is never longer than 1 s within two minutes, nor than 10 s ever, nor shorter than half its measure', () => {
  const outage = fc.record({
    afterMs: fc.integer({ min: 0, max: 3_600_000 }),
    tries: fc.integer({ min: 1, max: 200 }),
  });
  fc.assert(
    fc.property(outage, fc.double({ min: 0, max: 1, noNaN: true }), ({ afterMs, tries }, random) => {
      let now = 0;
      const backoff = new Backoff({ random: () => random, now: () => now });
      for (let one = 0; one < tries; one += 1) backoff.next();
      now = afterMs;
      const pause = backoff.next();
      assert.equal(pause >= 50, true);
      assert.equal(pause <= (afterMs <= 120_000 ? 1_000 : 10_000), true);
    }),
  );
});

test('after twenty minutes the pause has grown to 10 s, and a success makes it short again', () => {
  let now = 0;
  const backoff = new Backoff({ random: () => 1, now: () => now });
  for (let one = 0; one < 20; one += 1) backoff.next();
  now = 1_200_000;
  assert.equal(backoff.next(), 10_000);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test('a sleep ends at once when it is stopped', async () => {
  const stop = new AbortController();
  const began = performance.now();
  setTimeout(() => stop.abort(), 10);
  await sleep(60_000, stop.signal);
  await sleep(60_000, stop.signal);
  assert.equal(performance.now() - began < 5_000, true);
});
