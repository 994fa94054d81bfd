import assert from 'node:assert/strict';
import { test } from 'node:test';
import { steady } from '../../bench/race.ts';

/** Looks a second apart, from the start of a process on. */
function looks(events: readonly number[]) {
  return events.map((count, second) => ({
    atMs: second * 1_000,
    events: count,
    engine: second / 2,
    main: second / 4,
    broker: second,
    mongod: 0,
  }));
}

test('the steady window begins behind the warm-up, and ends before the last event has left', () => {
  // First message after 1 s, slow for 3 s, then 100 a second; the last second only waits.
  const { steadyRate, steadySeconds, engineMicros, mainThread } = steady(
    looks([0, 1, 10, 20, 30, 130, 230, 330, 400, 400]),
    400,
  );
  assert.equal(steadySeconds, 3);
  assert.equal(steadyRate, 100);
  assert.equal(engineMicros, 5_000);
  assert.equal(mainThread, 0.25);
});

test('a run that is over before it is warm has no steady rate', () => {
  const { steadyRate, steadySeconds } = steady(looks([0, 100, 200, 300, 400]), 400);
  assert.ok(Number.isNaN(steadyRate));
  assert.equal(steadySeconds, 0);
});
