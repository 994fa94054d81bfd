import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ThreadCount } from '../../src/worker/thread-count.ts';

/** Main is as busy as it is told to be, from 0 to 1. */
class Bench {
  now = 0;
  busy = 0.3;
  /** Threads that are wanted do not come. */
  slow = false;
  #active = 0;
  readonly count: ThreadCount;
  #waiting = 0;

  constructor(least: number, most: number) {
    this.count = new ThreadCount(
      { least, most },
      {
        now: () => this.now,
        utilization: (from) => {
          const active = this.#active - (from?.active ?? 0);
          const idle = this.now - this.#active - (from?.idle ?? 0);
          return { active, idle, utilization: active / (active + idle) };
        },
      },
    );
    this.settle();
  }

  /** Threads are up, or gone, as soon as that is wanted. */
  settle(): void {
    if (this.slow) return;
    this.#waiting -= this.count.have(this.count.wanted, this.#waiting);
  }

  pass(ms: number): void {
    this.now += ms;
    this.#active += ms * this.busy;
  }

  begin(): boolean {
    const began = this.count.begin();
    if (!began) this.#waiting += 1;
    this.settle();
    return began;
  }

  end(): number {
    const began = this.count.end(this.#waiting);
    this.#waiting -= began;
    this.settle();
    return began;
  }

  /** Always some jobs in line, each taking 10 ms. */
  press(ms: number): void {
    for (let passed = 0; passed < ms; passed += 10) {
      while (this.#waiting < 3) this.begin();
      this.pass(10);
      this.end();
    }
  }

  /** One job after the other, with pauses. */
  stroll(ms: number): void {
    for (let passed = 0; passed < ms; passed += 100) {
      assert.ok(this.begin());
      this.pass(100);
      assert.equal(this.end(), 0);
    }
  }

  drain(): void {
    while (this.#waiting > 0) this.end();
  }
}

test('a line that stands although main has time adds a thread, one at a time, and no more than allowed', () => {
  const bench = new Bench(1, 3);
  bench.press(900);
  assert.equal(bench.count.wanted, 1);
  bench.press(300);
  assert.equal(bench.count.wanted, 2);
  bench.press(1_200);
  assert.equal(bench.count.wanted, 3);
  bench.press(5_000);
  assert.equal(bench.count.wanted, 3);
});

test('where main is busy no thread is added', () => {
  const bench = new Bench(1, 4);
  bench.busy = 0.95;
  bench.press(10_000);
  assert.equal(bench.count.wanted, 1);
});

test('bursts add no thread, however many there are', () => {
  const bench = new Bench(1, 4);
  for (let n = 0; n < 50; n++) {
    bench.press(500);
    bench.drain();
    assert.ok(bench.count.wanted === 1);
    bench.end();
    bench.pass(200);
  }
});

test('a thread that is not needed for half a minute is given up, and not while it is', () => {
  const bench = new Bench(1, 2);
  bench.press(2_000);
  assert.equal(bench.count.wanted, 2);
  bench.press(60_000);
  assert.equal(bench.count.wanted, 2);
  bench.drain();
  bench.end();
  bench.end();
  bench.stroll(29_000);
  assert.equal(bench.count.wanted, 2);
  bench.stroll(2_000);
  assert.equal(bench.count.wanted, 1);
});

test('a fixed number stays what it is, and that many jobs run at once', () => {
  const bench = new Bench(2, 2);
  assert.ok(bench.begin());
  assert.ok(bench.begin());
  assert.ok(!bench.begin());
  bench.pass(60_000);
  assert.equal(bench.end(), 1);
  assert.equal(bench.count.wanted, 2);
});

test('a line behind jobs that never end adds a thread too, once somebody looks', () => {
  const bench = new Bench(1, 2);
  assert.ok(bench.begin());
  assert.ok(!bench.begin());
  bench.pass(500);
  bench.count.look();
  assert.equal(bench.count.wanted, 1);
  bench.pass(600);
  bench.count.look();
  assert.equal(bench.count.wanted, 2);
});

test('no thread is wanted while the one before is not up, and none soon after one was refused', () => {
  const bench = new Bench(1, 3);
  bench.slow = true;
  bench.press(10_000);
  assert.equal(bench.count.wanted, 2);
  bench.count.refused();
  assert.equal(bench.count.wanted, 1);
  bench.press(55_000);
  assert.equal(bench.count.wanted, 1);
  bench.press(10_000);
  assert.equal(bench.count.wanted, 2);
});
