import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { METRICS } from '../../src/observe/metric-list.ts';
import type { MetricSpec } from '../../src/observe/metric-list.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import type { StatusReport } from '../../src/observe/status.ts';
import { sampleStatus } from './sample-status.ts';

const specs: readonly MetricSpec[] = Object.values(METRICS);

function metricsOf(status: () => StatusReport = () => sampleStatus): Metrics {
  return new Metrics({ version: '1.2.3', status });
}

/** Sample lines as `name{labels}` → value. */
async function scrape(metrics: Metrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

test('a counter is there with 0 from the moment its meter is made, each parking reason too', async () => {
  const metrics = metricsOf();
  metrics.source('shop');
  metrics.lane('orders');
  metrics.sink('rabbit');
  const samples = await scrape(metrics);
  for (const series of [
    'tailrace_entries_read_total{source="shop"}',
    'tailrace_read_bytes_total{source="shop"}',
    'tailrace_events_filtered_total{source="shop"}',
    'tailrace_reconnects_total{end="source",name="shop"}',
    'tailrace_reconnects_total{end="sink",name="rabbit"}',
    'tailrace_events_published_total{subscription="orders"}',
    'tailrace_messages_confirmed_total{subscription="orders"}',
    'tailrace_messages_returned_total{subscription="orders"}',
    'tailrace_messages_nacked_total{subscription="orders"}',
    'tailrace_events_parked_total{subscription="orders",reason="undecodable"}',
    'tailrace_events_parked_total{subscription="orders",reason="unroutable"}',
    'tailrace_gaps_total{source="shop",reason="diverged"}',
  ]) {
    assert.equal(samples.get(series), 0, series);
  }
});

test('what a meter counts appears under its own name and labels only', async () => {
  const metrics = metricsOf();
  const shop = metrics.source('shop');
  const other = metrics.source('other');
  shop.read(20_000, 9_000_000);
  shop.read(1, 450);
  shop.filtered(12);
  shop.reconnected();
  other.read(5, 50);
  const orders = metrics.lane('orders');
  orders.published(200);
  orders.confirmed(3);
  orders.returned(2);
  orders.nacked(1);
  orders.parked('too-large', 4);
  metrics.sink('rabbit').reconnected();
  const samples = await scrape(metrics);
  const expected: Record<string, number> = {
    'tailrace_entries_read_total{source="shop"}': 20_001,
    'tailrace_read_bytes_total{source="shop"}': 9_000_450,
    'tailrace_entries_read_total{source="other"}': 5,
    'tailrace_events_filtered_total{source="shop"}': 12,
    'tailrace_events_filtered_total{source="other"}': 0,
    'tailrace_reconnects_total{end="source",name="shop"}': 1,
    'tailrace_reconnects_total{end="source",name="other"}': 0,
    'tailrace_reconnects_total{end="sink",name="rabbit"}': 1,
    'tailrace_events_published_total{subscription="orders"}': 200,
    'tailrace_messages_confirmed_total{subscription="orders"}': 3,
    'tailrace_messages_returned_total{subscription="orders"}': 2,
    'tailrace_messages_nacked_total{subscription="orders"}': 1,
    'tailrace_events_parked_total{subscription="orders",reason="too-large"}': 4,
    'tailrace_events_parked_total{subscription="orders",reason="refused"}': 0,
  };
  for (const [series, value] of Object.entries(expected)) assert.equal(samples.get(series), value, series);
});

test('times go into the histograms, each phase of a batch into its own', async () => {
  const metrics = metricsOf();
  const shop = metrics.source('shop');
  shop.batch('wait', 0.002);
  shop.batch('decode', 0.03);
  shop.batch('decode', 0.04);
  shop.batch('order', 2);
  metrics.lane('orders').confirmSeconds.observe(0.02);
  const samples = await scrape(metrics);
  const series = 'tailrace_worker_batch_seconds';
  assert.equal(samples.get(`${series}_count{source="shop",phase="wait"}`), 1);
  assert.equal(samples.get(`${series}_count{source="shop",phase="decode"}`), 2);
  assert.equal(samples.get(`${series}_sum{source="shop",phase="order"}`), 2);
  assert.equal(samples.get(`${series}_bucket{le="0.025",source="shop",phase="decode"}`), 0);
  assert.equal(samples.get(`${series}_bucket{le="0.05",source="shop",phase="decode"}`), 2);
  assert.equal(samples.get('tailrace_publish_confirm_seconds_sum{subscription="orders"}'), 0.02);
  assert.equal(samples.get('tailrace_publish_confirm_seconds_bucket{le="0.025",subscription="orders"}'), 1);
});

test('live state is taken from the status report of that moment', async () => {
  const samples = await scrape(metricsOf());
  const expected: Record<string, number> = {
    tailrace_ready: 0,
    'tailrace_build_info{version="1.2.3"}': 1,
    'tailrace_source_lag_seconds{source="shop"}': 4,
    'tailrace_majority_lag_seconds{source="shop"}': 0.5,
    'tailrace_checkpoint_lag_seconds{source="shop"}': 6,
    'tailrace_oplog_window_seconds{source="shop"}': 86_400,
    'tailrace_oplog_headroom_seconds{source="shop"}': 86_000,
    'tailrace_in_flight_bytes{source="shop"}': 67_108_864,
    'tailrace_source_state{source="shop",state="held"}': 1,
    'tailrace_source_state{source="shop",state="reading"}': 0,
    'tailrace_source_state{source="fresh",state="connecting"}': 1,
    'tailrace_source_held_by{source="shop",subscription="orders"}': 1,
    'tailrace_source_held_by{source="shop",subscription="audit"}': 0,
    'tailrace_messages_unconfirmed{subscription="orders"}': 12,
    'tailrace_messages_unconfirmed{subscription="audit"}': 0,
    'tailrace_sink_blocked{sink="rabbit"}': 1,
    'tailrace_sink_blocked{sink="spare"}': 0,
    tailrace_worker_threads: 3,
    tailrace_parked_bytes: 2048,
    tailrace_parked_limit_bytes: 1_073_741_824,
    'tailrace_gaps_total{source="shop",reason="truncated"}': 2,
    'tailrace_gaps_total{source="fresh",reason="truncated"}': 0,
  };
  for (const [series, value] of Object.entries(expected)) assert.equal(samples.get(series), value, series);
});

test('what is not known yet has no series instead of a wrong 0', async () => {
  const samples = await scrape(metricsOf());
  for (const name of [
    'source_lag_seconds',
    'majority_lag_seconds',
    'checkpoint_lag_seconds',
    'oplog_window_seconds',
    'oplog_headroom_seconds',
  ]) {
    assert.equal(samples.has(`tailrace_${name}{source="fresh"}`), false, name);
  }
});

test('a lane has a series only while it is held, and gaps are not counted twice by two scrapes', async () => {
  let report = sampleStatus;
  const metrics = metricsOf(() => report);
  const held = 'tailrace_lane_held{subscription="orders",partition="3",reason="unroutable"}';
  assert.equal((await scrape(metrics)).get(held), 1);
  report = { ...sampleStatus, notReady: [], subscriptions: {} };
  const after = await scrape(metrics);
  assert.deepEqual(
    [...after.keys()].filter((series) => series.startsWith('tailrace_lane_held')),
    [],
  );
  assert.equal(after.get('tailrace_ready'), 1);
  assert.equal(after.get('tailrace_gaps_total{source="shop",reason="truncated"}'), 2);
});

test('two engines in one process do not share a number', async () => {
  const one = metricsOf();
  const two = metricsOf();
  one.source('shop').read(7, 70);
  two.source('shop');
  assert.equal((await scrape(two)).get('tailrace_entries_read_total{source="shop"}'), 0);
});

test("every metric of the list is exposed with its type and help, beside Node's own without a prefix", async () => {
  const text = await metricsOf().text();
  for (const { name, type, help } of specs) {
    assert.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
  }
  assert.match(text, /^process_cpu_seconds_total /m);
  assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
});

test('names follow the conventions: a unit last, _total for counters only, no name twice', () => {
  assert.equal(new Set(specs.map(({ name }) => name)).size, specs.length);
  for (const { name, type, buckets } of specs) {
    assert.match(name, /^tailrace_[a-z]+(_[a-z]+)*$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.equal(buckets !== undefined, type === 'histogram', name);
    if (type === 'histogram') assert.match(name, /_seconds$/);
  }
});

test("the README's table names exactly the metrics of the list", () => {
  const text = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\|\s*`(tailrace_[a-z_]+)/gm)].map((match) => match[1]);
  assert.deepEqual(
    rows,
    specs.map(({ name }) => name),
  );
});

test('the totals that the status repeats are what the counters say', async () => {
  const metrics = metricsOf(() => sampleStatus);
  const source = metrics.source('shop');
  source.read(10, 5_000);
  source.read(5, 2_500);
  const lane = metrics.lane('orders');
  lane.published(20);
  lane.confirmed(2);
  assert.deepEqual(metrics.readBy('shop'), { entriesRead: 15, bytesRead: 7_500 });
  assert.deepEqual(metrics.sentBy('orders'), { eventsPublished: 20, messagesConfirmed: 2 });
  assert.deepEqual(metrics.readBy('other'), { entriesRead: 0, bytesRead: 0 });
  const text = await metrics.text();
  assert.match(text, /tailrace_entries_read_total\{source="shop"\} 15/);
  assert.match(text, /tailrace_messages_confirmed_total\{subscription="orders"\} 2/);
});
