import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../../src/terminal/pace.ts';
import type { Observed } from '../../src/terminal/pace.ts';
import { sampleStatus } from '../observe/sample-status.ts';

interface Seen {
  readonly uptime?: number;
  readonly lag?: number | null;
  readonly read?: number;
  readonly sent?: number;
  readonly busy?: number;
}

function seen({ uptime = 100, lag = 0, read = 0, sent = 0, busy = 0 }: Seen): Observed {
  const { sources, subscriptions } = sampleStatus;
  return {
    uptimeSeconds: uptime,
    sources: { shop: { ...sources['shop']!, checkpointLagSeconds: lag, entriesRead: read, bytesRead: read * 500 } },
    subscriptions: {
      orders: { ...subscriptions['orders']!, eventsPublished: sent, messagesConfirmed: sent / 10 },
    },
    process: { residentBytes: 1, cpuSeconds: busy * 1.5, eventLoopBusySeconds: busy },
  };
}

test('rates are of the last seconds, and unknown until there are two readings', () => {
  const pace = new Pace();
  pace.add(seen({}), 1_000);
  assert.equal(pace.rates, undefined);
  for (let second = 2; second <= 10; second++) {
    pace.add(
      seen({ read: second <= 5 ? 0 : (second - 5) * 1_000, sent: second * 10, busy: second / 2 }),
      second * 1_000,
    );
  }
  const { sources, subscriptions, processors, eventLoop } = pace.rates!;
  assert.deepEqual(sources.get('shop'), { entries: 1_000, bytes: 500_000 });
  assert.deepEqual(subscriptions.get('orders'), { events: 10, confirms: 1 });
  assert.equal(processors, 0.75);
  assert.equal(eventLoop, 0.5);
});

test('an engine that was started again has no negative rates', () => {
  const pace = new Pace();
  pace.add(seen({ uptime: 100, read: 5_000 }), 0);
  pace.add(seen({ uptime: 1, read: 10 }), 500);
  assert.equal(pace.rates, undefined);
  pace.add(seen({ uptime: 2, read: 110 }), 1_500);
  assert.equal(pace.rates!.sources.get('shop')!.entries, 100);
});

test('who is far behind catches up: the share done, and the time left at the pace so far', () => {
  const pace = new Pace();
  pace.add(seen({ lag: 600 }), 0);
  assert.deepEqual(pace.catchingUp('shop'), { behindSeconds: 600, share: 0, leftSeconds: undefined });
  pace.add(seen({ lag: 590 }), 1_000);
  assert.equal(pace.catchingUp('shop')!.leftSeconds, undefined, 'a second is too short to tell');
  for (let second = 2; second <= 30; second++) pace.add(seen({ lag: 600 - 10 * second }), second * 1_000);
  const { behindSeconds, share, leftSeconds } = pace.catchingUp('shop')!;
  assert.equal(behindSeconds, 300);
  assert.equal(share, 0.5);
  assert.equal(leftSeconds, 30);
});

test('who falls further behind has no time left that could be told, and the bar begins where it was furthest behind', () => {
  const pace = new Pace();
  for (let second = 0; second <= 5; second++) pace.add(seen({ lag: 100 + second }), second * 1_000);
  assert.deepEqual(pace.catchingUp('shop'), { behindSeconds: 105, share: 0, leftSeconds: Infinity });
});

test('the bar goes once it is in step, and a few seconds of lag bring none', () => {
  const pace = new Pace();
  pace.add(seen({ lag: 14 }), 0);
  assert.equal(pace.catchingUp('shop'), undefined);
  pace.add(seen({ lag: 15 }), 1_000);
  pace.add(seen({ lag: 3 }), 2_000);
  assert.equal(pace.catchingUp('shop')!.behindSeconds, 3);
  pace.add(seen({ lag: 2 }), 3_000);
  assert.equal(pace.catchingUp('shop'), undefined);
  pace.add(seen({ lag: null }), 4_000);
  assert.equal(pace.catchingUp('shop'), undefined);
});
