import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpointShow } from '../../src/commands/checkpoint-show.ts';
import { parkedList } from '../../src/commands/parked-list.ts';
import { checkpoint, configured, parked, recordedLog } from '../checkpoint/fixtures.ts';

async function filled(t: TestContext): Promise<string> {
  const config = await configured(t);
  const path = join(config, '..', 'data');
  const log = recordedLog();
  await using store = await CheckpointStore.open({ path, log });
  await store.put([checkpoint('orders', 1_795_327_615), { ...checkpoint('old', 1_700_000_000), watermark: undefined }]);
  const ts = { seconds: 1_795_327_000, increment: 1 };
  await store.addGap({
    source: 'shop',
    subscription: 'orders',
    from: ts,
    to: { ...ts, increment: 4 },
    reason: 'truncated',
    at: 1_795_327_620_000,
  });
  await using parking = await ParkingStore.open({ path, log, maxBytes: 1e6 });
  const stop = new AbortController().signal;
  await parking.put(parked('shop:1795327615.2.0', { detail: 'two\nlines' }), stop);
  await parking.put(parked('shop:1795327615.3.0', { subscription: 'old', reason: 'too-large' }), stop);
  return config;
}

async function output(command: (write: (text: string) => void) => Promise<number>): Promise<string> {
  let text = '';
  assert.equal(await command((part) => (text += part)), 0);
  return text;
}

test('checkpoint show prints positions with their time, and the gaps', async (t) => {
  const config = await filled(t);
  const text = await output((write) => checkpointShow({ config, json: false, write }));
  assert.match(text, /^orders +shop +after 1795327615:7 \(2026-11-22T06:06:55Z\) +1795327615:4294967295 \(/m);
  assert.match(text, /^old \(not configured\) +shop .* - /m);
  assert.match(text, /^shop +orders +1795327000:1 \(.*\) +1795327000:4 \(.*\) +truncated +2026-11-22T/m);
});

test('checkpoint show says who is paused', async (t) => {
  const config = await configured(t);
  const path = join(config, '..', 'data');
  {
    await using store = await CheckpointStore.open({ path, log: recordedLog() });
    await store.put([{ ...checkpoint('orders', 5), pausedAt: 1_795_327_620_000 }]);
    await store.flushed();
  }
  assert.match(await output((write) => checkpointShow({ config, json: false, write })), /^orders \(paused\) +shop /m);
  const shown = JSON.parse(await output((write) => checkpointShow({ config, json: true, write })));
  assert.equal(shown.subscriptions[0].pausedAt, '2026-11-22T06:07:00.000Z');
});

test('checkpoint show --json has what a program needs', async (t) => {
  const config = await filled(t);
  const shown: { subscriptions: { name: string }[]; gaps: object[] } = JSON.parse(
    await output((write) => checkpointShow({ config, json: true, write })),
  );
  assert.deepEqual(
    shown.subscriptions.map(({ name }) => name),
    ['old', 'orders'],
  );
  assert.deepEqual(shown.subscriptions[1], {
    name: 'orders',
    configured: true,
    source: 'shop',
    replicaSetId: '64f0c0ffee0000000000beef',
    resume: { kind: 'after', position: '1795327615:7', time: '2026-11-22T06:06:55Z', term: 3 },
    watermark: { position: '1795327615:4294967295', time: '2026-11-22T06:06:55Z', term: 3, index: 2 },
    partitions: 3,
    lanes: [
      { partition: 0, position: '1795327615:1', index: 0 },
      { partition: 2, position: '1795327615:9', index: 5 },
    ],
    updatedAt: '2026-09-21T14:13:20.000Z',
    pausedAt: null,
  });
  assert.deepEqual(shown.gaps, [
    {
      source: 'shop',
      subscription: 'orders',
      from: '1795327000:1',
      to: '1795327000:4',
      fromTime: '2026-11-22T05:56:40Z',
      toTime: '2026-11-22T05:56:40Z',
      reason: 'truncated',
      at: '2026-11-22T06:07:00.000Z',
    },
  ]);
});

test('parked list shows what was set aside and why, narrowed as asked', async (t) => {
  const config = await filled(t);
  const text = await output((write) => parkedList({ config, json: false, write }));
  assert.match(text, /^orders +shop:1795327615\.2\.0 +shop\.orders +undecodable +\S+ +two lines$/m);
  assert.match(text, /^2 parked\.$/m);
  const one: { parked: object[] } = JSON.parse(
    await output((write) => parkedList({ config, json: true, reason: 'too-large', write })),
  );
  assert.equal(one.parked.length, 1);
  assert.match(await output((write) => parkedList({ config, json: false, subscription: 'none', write })), /^Nothing/);
});

test('both say so where there is nothing yet', async (t) => {
  const config = await configured(t);
  assert.match(
    await output((write) => checkpointShow({ config, json: false, write })),
    /^No checkpoints in \/.*data yet/,
  );
  assert.match(await output((write) => parkedList({ config, json: false, write })), /^Nothing is parked/);
});
