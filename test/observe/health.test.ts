import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveness as livenessReasons, readiness as reasonsNotReady } from '../../src/observe/health.ts';
import type { HealthFacts, LaneFacts, SinkFacts, SourceFacts } from '../../src/observe/health.ts';
import type { SourceState } from '../../src/source/source.ts';

const readiness = (facts: HealthFacts, now: number): string[] => reasonsNotReady(facts, now).map(({ text }) => text);
const liveness = (facts: HealthFacts, now: number): string[] => livenessReasons(facts, now).map(({ text }) => text);

const NOW = 1_000_000;

const source: SourceFacts = {
  name: 'shop',
  state: 'reading',
  verified: true,
  startStored: true,
  lastReplyAt: NOW - 900,
  majorityLateSince: undefined,
  heldBy: [],
};
const lane: LaneFacts = { partition: 0, oldestUnconfirmedAt: undefined };
const well: HealthFacts = {
  sources: [source],
  sinks: [{ name: 'rabbit', connected: true }],
  subscriptions: [{ name: 'orders', lanes: [lane, { ...lane, partition: 1 }] }],
  checkpoint: {},
  parking: {},
  workers: { oldestJobAt: undefined, lastResultAt: NOW - 900 },
};

const SOURCE_STATES: readonly SourceState[] = [
  'connecting',
  'reading',
  'held',
  'reconnecting',
  'position_lost',
  'stopped',
];

const withSource = (change: Partial<SourceFacts>): HealthFacts => ({ ...well, sources: [{ ...source, ...change }] });
const withSink = (change: Partial<SinkFacts>): HealthFacts => ({
  ...well,
  sinks: [{ name: 'rabbit', connected: true, ...change }],
});
const withLanes = (...lanes: LaneFacts[]): HealthFacts => ({ ...well, subscriptions: [{ name: 'orders', lanes }] });

test('ready and healthy while both ends answer', () => {
  assert.deepEqual(readiness(well, NOW), []);
  assert.deepEqual(liveness(well, NOW), []);
});

test('not ready in every state of a source but reading and held, and the reason names the source', () => {
  const unready: Record<Exclude<SourceState, 'reading' | 'held'>, true> = {
    connecting: true,
    reconnecting: true,
    position_lost: true,
    stopped: true,
  };
  for (const state of SOURCE_STATES) {
    const reasons = readiness(withSource({ state }), NOW);
    assert.equal(reasons.length, state in unready ? 1 : 0, state);
    if (reasons[0] !== undefined) assert.match(reasons[0], /^source "shop" /);
  }
});

test('a source that stopped because its position is lost says from where to where, though other sources go on', () => {
  const lost = { ...source, state: 'position_lost', trouble: 'position 5:1 has left the oplog' } as const;
  const reasons = readiness({ ...well, sources: [{ ...source, name: 'other' }, lost] }, NOW);
  assert.deepEqual(reasons, ['source "shop" has stopped, its position is lost: position 5:1 has left the oplog']);
});

test('a source that reads is not ready before its position is verified, its start stored and a first batch there', () => {
  assert.match(readiness(withSource({ verified: false }), NOW).join(), /not verified/);
  assert.match(readiness(withSource({ startStored: false }), NOW).join(), /not stored its start/);
  assert.match(readiness(withSource({ lastReplyAt: undefined }), NOW).join(), /no batch yet/);
});

test('ten seconds without a batch, an empty one included, are not ready any more', () => {
  assert.deepEqual(readiness(withSource({ lastReplyAt: NOW - 9_999 }), NOW), []);
  assert.deepEqual(readiness(withSource({ lastReplyAt: NOW - 10_000 }), NOW), [
    'source "shop" has had no batch for 10 s',
  ]);
});

test('a majority that has taken in nothing for five seconds, though there is something, is not ready', () => {
  assert.deepEqual(readiness(withSource({ majorityLateSince: NOW - 4_999 }), NOW), []);
  assert.deepEqual(readiness(withSource({ majorityLateSince: NOW - 6_000 }), NOW), [
    'source "shop": no majority of the replica set has taken in what was written for 6 s',
  ]);
});

test('a source that reconnects says why', () => {
  assert.deepEqual(readiness(withSource({ state: 'reconnecting', trouble: 'Authentication failed.' }), NOW), [
    'source "shop" is reconnecting: Authentication failed.',
  ]);
});

test('back pressure alone is ready; held without a batch for ten seconds is not, and says by whom', () => {
  const held = { state: 'held', heldBy: ['orders', 'audit'] } as const;
  assert.deepEqual(readiness(withSource({ ...held, lastReplyAt: NOW - 3_000 }), NOW), []);
  assert.deepEqual(readiness(withSource({ ...held, lastReplyAt: NOW - 12_500 }), NOW), [
    'source "shop" has had no batch for 12 s, held by "orders", "audit"',
  ]);
});

test('a sink that is away or blocked is not ready, in the words of whoever knows why', () => {
  assert.deepEqual(
    readiness(withSink({ connected: false, down: { code: 'sink-away', reason: 'ECONNREFUSED' } }), NOW),
    ['sink "rabbit" is not connected: ECONNREFUSED'],
  );
  assert.deepEqual(readiness(withSink({ blocked: 'low on disk' }), NOW), [
    'sink "rabbit" is blocked by the broker: low on disk',
  ]);
});

test('a confirm is late after five seconds; one line for a subscription, with the longest wait', () => {
  assert.deepEqual(readiness(withLanes({ ...lane, oldestUnconfirmedAt: NOW - 5_000 }), NOW), []);
  const facts = withLanes(
    { ...lane, oldestUnconfirmedAt: NOW - 5_001 },
    { ...lane, partition: 1, oldestUnconfirmedAt: NOW - 8_000 },
    { ...lane, partition: 2, oldestUnconfirmedAt: NOW - 10 },
  );
  assert.deepEqual(readiness(facts, NOW), ['subscription "orders": no confirm for 8 s (2 of 3 lanes)']);
});

test('held lanes are told by cause, once for each', () => {
  const unroutable = { reason: 'unroutable', detail: 'NO_ROUTE' } as const;
  assert.deepEqual(
    readiness(
      withLanes(
        { ...lane, held: unroutable, oldestUnconfirmedAt: NOW - 60_000 },
        { ...lane, partition: 1 },
        { ...lane, partition: 2, held: unroutable },
        { ...lane, partition: 3, held: { reason: 'nacked', detail: 'refused by a full queue' } },
      ),
      NOW,
    ),
    [
      'subscription "orders": partition 0, 2 held, unroutable: NO_ROUTE',
      'subscription "orders": partition 3 held, nacked: refused by a full queue',
    ],
  );
  assert.deepEqual(readiness(withLanes({ ...lane, held: unroutable }), NOW), [
    'subscription "orders": every lane held, unroutable: NO_ROUTE',
  ]);
});

test('a checkpoint or a parked event that cannot be written, and a full parking store, are not ready', () => {
  const reasons = readiness(
    { ...well, checkpoint: { failing: 'ENOSPC' }, parking: { failing: 'EIO', full: 'raise parked.maxBytes' } },
    NOW,
  );
  assert.equal(reasons.length, 3);
  assert.match(reasons[0] ?? '', /ENOSPC/);
  assert.match(reasons[1] ?? '', /EIO/);
  assert.match(reasons[2] ?? '', /parked\.maxBytes/);
});

test('nothing that a restart would not mend makes the engine unhealthy', () => {
  const facts: HealthFacts = {
    ...well,
    sources: [{ ...source, state: 'reconnecting', lastReplyAt: NOW - 3_600_000 }],
    sinks: [{ name: 'rabbit', connected: false }],
    subscriptions: [{ name: 'orders', lanes: [{ ...lane, oldestUnconfirmedAt: NOW - 3_600_000 }] }],
    checkpoint: { failing: 'ENOSPC' },
    parking: { failing: 'EIO', full: 'raise parked.maxBytes' },
    // Idle for an hour: no job, so no answer is owed.
    workers: { oldestJobAt: undefined, lastResultAt: NOW - 3_600_000 },
  };
  assert.deepEqual(liveness(facts, NOW), []);
});

test('workers that hold a batch and answer nothing for a minute are stuck; any answer proves them alive', () => {
  const workers = (oldestJobAt: number, lastResultAt?: number): HealthFacts => ({
    ...well,
    workers: { oldestJobAt, lastResultAt },
  });
  assert.deepEqual(liveness(workers(NOW - 59_999), NOW), []);
  assert.equal(liveness(workers(NOW - 60_000), NOW).length, 1);
  assert.equal(liveness(workers(NOW - 90_000, NOW - 100_000), NOW).length, 1);
  assert.deepEqual(liveness(workers(NOW - 90_000, NOW - 500), NOW), []);
});

test('each reason has a code, which has a page', () => {
  const codes = (facts: HealthFacts): string[] => reasonsNotReady(facts, NOW).map(({ code }) => code);
  assert.deepEqual(codes(withSource({ state: 'position_lost', lost: 'diverged' })), ['position-diverged']);
  assert.deepEqual(codes(withSource({ state: 'reconnecting' })), ['source-away']);
  assert.deepEqual(codes(withSink({ connected: false })), ['sink-away']);
  const down = { code: 'sink-refused', reason: 'wrong password' } as const;
  assert.deepEqual(codes(withSink({ connected: false, down })), ['sink-refused']);
  assert.deepEqual(
    codes({ ...well, checkpoint: { failing: 'ENOSPC' }, parking: { failing: 'EIO', full: 'raise parked.maxBytes' } }),
    ['checkpoint-failing', 'parking-failing', 'parking-full'],
  );
  const held = { reason: 'nacked' as const, detail: 'full', since: 0 };
  assert.deepEqual(codes(withLanes({ ...lane, held })), ['held-nacked']);
});
