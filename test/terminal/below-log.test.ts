import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { BelowLog } from '../../src/terminal/below-log.ts';
import type { Size } from '../../src/terminal/below-log.ts';
import { FakeScreen } from '../harness/screen.ts';

const ROWS = 12;

/** Takes its time for every write, and counts them. */
class SlowScreen {
  size: Size = { columns: 40, rows: ROWS };
  readonly seen = new FakeScreen(40, ROWS);
  writes = 0;
  underWay = 0;
  /** The terminal stands still until it resolves. */
  standsStill: Promise<void> = Promise.resolve();

  async write(text: string): Promise<void> {
    this.writes += 1;
    this.underWay += 1;
    assert.equal(this.underWay, 1, 'one write at a time');
    await this.standsStill;
    await sleep(1);
    this.writeNow(text);
    this.underWay -= 1;
  }

  writeNow(text: string): void {
    this.seen.feed(text.replaceAll('\n', '\r\n'));
  }
}

test('the log scrolls by above the lines, which stay at the bottom', async () => {
  const screen = new SlowScreen();
  await using below = new BelowLog(screen);
  below.show(() => ['one', 'two']);
  for (let n = 0; n < 30; n++) {
    below.log(`log ${n}\n`);
    if (n % 10 === 9) await sleep(300);
  }
  assert.deepEqual(screen.seen.text, [...Array.from({ length: 30 }, (_, n) => `log ${n}`), 'one', 'two']);
});

test('closed, it leaves the log and nothing else', async () => {
  const screen = new SlowScreen();
  const below = new BelowLog(screen);
  below.show(() => ['one', 'two']);
  below.log('first\n');
  await sleep(20);
  below.log('last\n');
  await below[Symbol.asyncDispose]();
  assert.deepEqual(screen.seen.text, ['first', 'last']);
});

test('lines that change all the time are drawn four times a second at most', async () => {
  const screen = new SlowScreen();
  await using below = new BelowLog(screen);
  const began = performance.now();
  while (performance.now() - began < 1_000) {
    below.show(() => [String(performance.now())]);
    await sleep(2);
  }
  const most = 1 + Math.ceil((performance.now() - began) / 250);
  assert.ok(screen.writes >= 2 && screen.writes <= most, `${screen.writes} writes`);
});

test('a terminal that stands still holds nobody up; then it has the whole log and the newest lines', async () => {
  const screen = new SlowScreen();
  let goOn = (): void => undefined;
  screen.standsStill = new Promise((resolve) => (goOn = resolve));
  await using below = new BelowLog(screen);
  for (let n = 0; n < 100; n++) {
    below.log(`log ${n}\n`);
    below.show(() => [`line ${n}`]);
  }
  await sleep(50);
  assert.deepEqual(screen.seen.text, []);
  goOn();
  await sleep(400);
  assert.deepEqual(screen.seen.text, [...Array.from({ length: 100 }, (_, n) => `log ${n}`), 'line 99']);
  assert.ok(screen.writes <= 4, `${screen.writes} writes`);
});

test('another size of the terminal changes the lines at once', async () => {
  const screen = new SlowScreen();
  await using below = new BelowLog(screen);
  below.show(({ columns }) => [`${columns} columns`]);
  await sleep(20);
  screen.size = { columns: 90, rows: ROWS };
  below.redraw();
  await sleep(300);
  assert.deepEqual(screen.seen.text, ['90 columns']);
});

test('whatever comes when: the log is whole and in order, and nothing else is left', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('log' as const), lines: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constant('show' as const), lines: fc.integer({ min: 0, max: 4 }) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 8 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const screen = new SlowScreen();
      const below = new BelowLog(screen);
      const logged: string[] = [];
      for (const one of steps) {
        if (one.kind === 'wait') await sleep(one.ms);
        else if (one.kind === 'show')
          below.show(() => Array.from({ length: one.lines }, (_, n) => `${n} ${'x'.repeat(60)}`));
        else
          for (let n = 0; n < one.lines; n++) {
            logged.push(`log ${logged.length}`);
            below.log(`${logged.at(-1)}\n`);
          }
      }
      await below[Symbol.asyncDispose]();
      assert.deepEqual(screen.seen.text, logged);
    }),
    { numRuns: 30 },
  );
});
