import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOST_WATCHERS, Watchers } from '../../src/watch/watchers.ts';
import type { WatchedEvent, WatchFilter, WatchReader } from '../../src/watch/watchers.ts';
import type { Sample } from '../../src/worker/protocol.ts';

function sample(n: number, text = '{}'): Sample {
  return {
    subscription: 'orders',
    number: 0,
    partition: 0,
    ns: 'shop.orders',
    operationType: 'insert',
    id: `shop:1.${n}.0`,
    routingKey: 'k',
    headers: {},
    bytes: text.length,
    text,
    whole: true,
  };
}

class Reader implements WatchReader {
  ready = true;
  ended = false;
  readonly shown: WatchedEvent[] = [];

  show(events: readonly WatchedEvent[]): void {
    this.shown.push(...events);
  }

  end(): void {
    this.ended = true;
  }
}

function setUp(filter: Partial<WatchFilter> = {}) {
  const clock = { now: 0 };
  const watchers = new Watchers(() => clock.now);
  const reader = new Reader();
  const watching = watchers.open({ perSecond: 10, ...filter }, reader)!;
  const most = (): number => watchers.watches![0]!.most;
  const give = (count: number, text?: string, matched = count): void => {
    const samples = Array.from({ length: count }, (_, n) => sample(n, text));
    watchers.take([{ watcher: watchers.watches![0]!.watcher, matched, samples }], () => undefined);
  };
  return { clock, watchers, reader, watching, most, give };
}

test('nothing is asked for while nobody watches', () => {
  const { watchers, watching } = setUp();
  assert.equal(watchers.watches?.length, 1);
  watching.stop();
  assert.equal(watchers.watches, undefined);
  assert.equal(watchers.size, 0);
});

test('a watcher is shown so many a second, and told how many it was not shown', () => {
  const { clock, reader, watching, give } = setUp();
  give(15, '{}', 1_000);
  assert.equal(reader.shown.length, 10);
  assert.deepEqual(watching.takeLeftOut(), { overRate: 990, slowReader: 0 });
  assert.deepEqual(watching.takeLeftOut(), { overRate: 0, slowReader: 0 });
  clock.now += 500;
  give(15);
  assert.equal(reader.shown.length, 15);
  clock.now += 60_000;
  give(15);
  assert.equal(reader.shown.length, 25);
});

test('a batch is asked for what may be shown when it comes back, and never for more than a second may bring', () => {
  const { clock, most, give } = setUp({ perSecond: 50 });
  assert.equal(most(), 50);
  give(50);
  // Batch after batch, 40 ms from one to the next: two events are due with each.
  let asked = 0;
  for (let batch = 0; batch < 100; batch++) {
    clock.now += 40;
    asked = most();
    clock.now += 0;
    give(asked);
  }
  assert.ok(asked >= 2 && asked <= 4, `${asked}`);
  clock.now += 3_000;
  assert.equal(most(), 50);
});

test('what is shown is bounded in bytes as well', () => {
  const { clock, reader, watching, give } = setUp({ perSecond: 200 });
  give(100, 'x'.repeat(64 * 1024));
  assert.equal(reader.shown.length, 16);
  assert.equal(watching.takeLeftOut().overRate, 84);
  clock.now += 1_000;
  give(100, 'x'.repeat(64 * 1024));
  assert.equal(reader.shown.length, 32);
});

test('a reader that does not read is given nothing more, and asks no batch for anything', () => {
  const { reader, watching, most, give } = setUp();
  reader.ready = false;
  assert.equal(most(), 0);
  give(5, '{}', 700);
  assert.equal(reader.shown.length, 0);
  assert.deepEqual(watching.takeLeftOut(), { overRate: 0, slowReader: 700 });
  reader.ready = true;
  give(5);
  assert.equal(reader.shown.length, 5);
});

test('what comes back for one that has gone is dropped', () => {
  const { watchers, reader, watching } = setUp();
  const { watcher } = watchers.watches![0]!;
  watching.stop();
  watchers.take([{ watcher, matched: 1, samples: [sample(1)] }], () => undefined);
  assert.equal(reader.shown.length, 0);
});

test('why a lane holds is said with its events', () => {
  const { watchers, reader } = setUp();
  const { watcher } = watchers.watches![0]!;
  watchers.take([{ watcher, matched: 1, samples: [sample(1)] }], ({ partition }) => `held ${partition}`);
  assert.equal(reader.shown[0]!.held, 'held 0');
});

test('there are so many watchers at most; the end of all ends each, and lets nobody in', () => {
  const watchers = new Watchers();
  const readers = Array.from({ length: MOST_WATCHERS }, () => new Reader());
  const watching = readers.map((reader) => watchers.open({ perSecond: 1 }, reader));
  assert.ok(watching.every((one) => one !== undefined));
  assert.equal(watchers.open({ perSecond: 1 }, new Reader()), undefined);
  watching[0]!.stop();
  readers[0] = new Reader();
  assert.ok(watchers.open({ perSecond: 1 }, readers[0]));
  watchers.close();
  assert.ok(readers.every(({ ended }) => ended));
  assert.equal(watchers.watches, undefined);
  assert.equal(watchers.open({ perSecond: 1 }, new Reader()), undefined);
});
