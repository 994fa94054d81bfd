import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bar, liveLines } from '../../src/terminal/live-lines.ts';
import type { CatchingUp, Rates } from '../../src/terminal/pace.ts';
import { styleOf } from '../../src/terminal/style.ts';
import { sampleStatus } from '../observe/sample-status.ts';
import type { StatusReport } from '../../src/observe/status.ts';

const style = styleOf(false);
const rates: Rates = {
  sources: new Map([['shop', { entries: 42_180.4, bytes: 23_068_672 }]]),
  subscriptions: new Map([
    ['orders', { events: 41_000, confirms: 410 }],
    ['audit', { events: 2.5, confirms: 2.5 }],
  ]),
  processors: 1.5,
  eventLoop: 0.9,
};
const { shop } = sampleStatus.sources as { shop: StatusReport['sources'][string] };
const well: StatusReport = {
  ...sampleStatus,
  notReady: [],
  sources: { shop: { ...shop, state: 'reading', heldBy: [] } },
};

function lines(
  report: StatusReport,
  { columns = 120, rows = 10, catchingUp = undefined as CatchingUp | undefined } = {},
): string[] {
  return liveLines({ report, pace: { rates, catchingUp: () => catchingUp }, columns, rows, style });
}

test('a source in step shows what it does and how much of the oplog it has in hand', () => {
  assert.deepEqual(lines(well), [
    'shop  reading  42,180 read/s  41,003 sent/s  22 MiB/s  6 s behind  23 h 53 min of oplog in hand',
  ]);
});

test('one that catches up shows a bar, the time left and how far behind it is', () => {
  const catchingUp = { behindSeconds: 300, share: 0.625, leftSeconds: 75.4 };
  assert.deepEqual(lines(well, { catchingUp }), [
    'shop  catching up  [████████████▌       ] 62 %  1 min 15 s left  5 min behind  42,180 read/s  41,003 sent/s  22 MiB/s',
  ]);
  assert.deepEqual(lines(well, { catchingUp, columns: 50 }), ['shop  catching up  62 %  1 min 15 s left']);
  const worse = { ...catchingUp, leftSeconds: Infinity };
  assert.match(lines(well, { catchingUp: worse })[0]!, /falling further behind {2}5 min behind/);
});

test('what holds a source, and why the engine is not ready, is said', () => {
  const report = { ...sampleStatus, notReady: ['the broker says:\x1b[2J no', 'and more'] };
  assert.deepEqual(lines(report), [
    'shop   held by orders  42,180 read/s  41,003 sent/s  22 MiB/s  6 s behind  23 h 53 min of oplog in hand',
    'fresh  connecting',
    'not ready: the broker says: [2J no (and 1 more)',
  ]);
});

test('no line is longer than the terminal is wide, nor are there more than it has rows for', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 20, max: 200 }),
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.string(), { maxLength: 3 }),
      fc.integer({ min: 1, max: 9 }),
      fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
      (columns, rows, notReady, count, share) => {
        const sources = Object.fromEntries(Array.from({ length: count }, (_, n) => [`source-${n}`, shop]));
        const catchingUp = share === undefined ? undefined : { share, behindSeconds: 1e6, leftSeconds: 1e6 };
        const drawn = lines(
          { ...sampleStatus, sources, notReady },
          { columns, rows, ...(catchingUp && { catchingUp }) },
        );
        assert.ok(drawn.length <= rows);
        for (const line of drawn) assert.ok(Array.from(line).length <= columns, line);
      },
    ),
  );
});

test('a bar is empty at 0, full at 1, and as wide as it was asked to be', () => {
  assert.equal(bar(0, 4), '[    ] 0 %');
  assert.equal(bar(0.5, 4), '[██  ] 50 %');
  assert.equal(bar(0.53, 4), '[██▏ ] 53 %');
  assert.equal(bar(1, 4), '[████] 100 %');
  assert.equal(bar(0.999, 4), '[████] 99 %');
});
