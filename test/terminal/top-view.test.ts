import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Rates } from '../../src/terminal/pace.ts';
import { styleOf } from '../../src/terminal/style.ts';
import { topView, withinRows } from '../../src/terminal/top-view.ts';
import { sampleStatus } from '../observe/sample-status.ts';

const rates: Rates = {
  sources: new Map([['shop', { entries: 42_180, bytes: 23_068_672 }]]),
  subscriptions: new Map([['orders', { events: 41_000, confirms: 205 }]]),
  processors: 1.5,
  eventLoop: 0.6,
};
const catchingUp = (name: string) => (name === 'shop' ? { behindSeconds: 6, share: 0.5, leftSeconds: 75 } : undefined);
const url = 'http://127.0.0.1:9464';

function view(overrides: Partial<Parameters<typeof topView>[0]> = {}): string[] {
  return topView({ report: sampleStatus, pace: { rates, catchingUp }, url, style: styleOf(false), ...overrides });
}

test('an engine in tables: sources, subscriptions, what is held, sinks, and the gaps', () => {
  assert.deepEqual(view(), [
    'tailrace 1.2.3 http://127.0.0.1:9464  up 1 min 30 s  200 MiB resident  1.50 cores  main thread 60 % busy  3 workers  2 KiB of 1 GiB parked',
    'not ready: subscription "orders": partition 3 held, unroutable: NO_ROUTE',
    '',
    'SOURCE  STATE       MEMBER     READ/S  BYTES/S  LAG  BEHIND        LEFT     HEADROOM  IN FLIGHT  HELD BY',
    'shop    held        db1:27017  42,180   22 MiB  4 s     6 s  1 min 15 s  23 h 53 min     64 MiB  orders',
    'fresh   connecting  -               -        -    -       -           -            -    0 bytes  -',
    '',
    'SUBSCRIPTION  SOURCE  STATE           BEHIND  SENT/S  CONFIRMS/S  UNCONFIRMED  QUEUED  PARKED',
    'orders        shop    held, detached     6 s  41,000         205           12      40       2',
    'audit         shop    flowing              -       -           -            0       0       0',
    '',
    'SNAPSHOT           STATE    DOCUMENTS   OF ABOUT  DOCUMENTS/S  LEFT  WAITS FOR',
    'orders.1795327615  running    250,000  1,000,000       25,000  30 s  -',
    '',
    'HELD    LANES    FOR  REASON      DETAIL',
    'orders  1 of 2  12 s  unroutable  NO_ROUTE',
    '',
    'SINK    STATE       BLOCKED',
    'rabbit  connected   low on memory',
    'spare   connecting  -',
    '',
    '2 gaps on record: `tailrace ctl checkpoint` shows what was not delivered.',
  ]);
});

test('an engine that gives no answer any more is shown as it was, with the reason', () => {
  const lines = view({ trouble: 'no answer from an engine\x1b[2J' });
  assert.equal(lines[1], 'no news: no answer from an engine [2J');
  assert.match(lines[4]!, /^shop +held/);
});

test('what has no room is left out from below, and that is said', () => {
  const lines = ['a', 'b', 'c', 'd'];
  assert.deepEqual(withinRows(lines, 4), lines);
  assert.deepEqual(withinRows(lines, 3), ['a', 'b', '… 2 lines more: `tailrace top --once` prints all.']);
});

test('colours tell what is not well, and change no column', () => {
  const coloured = view({ style: styleOf(true) });
  assert.ok(coloured.some((line) => line.includes('\x1b[33mheld      \x1b[39m')));
  const ESC = '\x1b';
  const bare = coloured.map((line) => line.replaceAll(new RegExp(`${ESC}\\[\\d+m`, 'g'), ''));
  assert.deepEqual(bare, view());
});
