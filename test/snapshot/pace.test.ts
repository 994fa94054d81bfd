/** How large pieces are, and how close they follow each other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../../src/snapshot/pace.ts';

const never = new AbortController().signal;

test('two are under way while nothing else is, one while changes come, those that wait in their order', async () => {
  const pace = new Pace({ parallel: 2, maxRate: undefined, share: 0 });
  const order: number[] = [];
  const enter = async (n: number): Promise<void> => void ((await pace.enter(never)) && order.push(n));
  const first = [enter(1), enter(2), enter(3), enter(4)];
  await Promise.all(first.slice(0, 2));
  assert.deepEqual(order, [1, 2]);
  pace.leave(10, true);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(order, [1, 2], 'another one is still under way');
  pace.leave(10, true);
  await first[2];
  assert.deepEqual(order, [1, 2, 3]);
  pace.leave(10, false);
  await first[3];
  assert.deepEqual(order, [1, 2, 3, 4]);
});

test('a share of the time is left to changes behind a piece, and nothing where there are none', async () => {
  const pace = new Pace({ parallel: 1, maxRate: undefined, share: 0.5 });
  const waited = async (live: boolean): Promise<number> => {
    await pace.enter(never);
    pace.leave(60, live);
    const began = performance.now();
    await pace.enter(never);
    pace.leave(0, false);
    return performance.now() - began;
  };
  const [alone, beside] = [await waited(false), await waited(true)];
  assert.ok(beside >= 55, `it rested ${beside} ms behind 60 ms`);
  assert.ok(alone < beside);
});

test('whoever waits no more takes no place', async () => {
  const pace = new Pace({ parallel: 1, maxRate: undefined, share: 0 });
  for (let n = 0; n < 2; n++) assert.ok(await pace.enter(never));
  const stop = new AbortController();
  const waiting = pace.enter(stop.signal);
  stop.abort();
  assert.equal(await waiting, false);
  pace.leave(1, false);
  assert.ok(await pace.enter(never));
});

test('pieces become smaller where they take long while changes come; a rate bounds them', () => {
  const pace = new Pace({ parallel: 1, maxRate: undefined, share: 0 });
  const before = pace.documents(500);
  for (let n = 0; n < 10; n++) pace.leave(500, true);
  assert.ok(pace.documents(500) < before);
  assert.equal(new Pace({ parallel: 1, maxRate: 100, share: 0 }).documents(), 25);
});

test('so many documents a second are allowed, and no more', async () => {
  let now = 0;
  const pace = new Pace({ parallel: 1, maxRate: 1_000_000, share: 0 }, () => now);
  pace.took(1_000_000);
  now = 999.999;
  await pace.allowed(never);
  pace.took(2_000);
  const began = performance.now();
  await pace.allowed(never);
  assert.ok(performance.now() - began >= 1.5);
});
