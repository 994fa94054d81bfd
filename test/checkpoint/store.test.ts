import assert from 'node:assert/strict';
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { recentName } from '../../src/checkpoint/data-folder.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, recordedLog, startChild, temporaryFolder } from './fixtures.ts';

const log = recordedLog();

test('what was put is there after closing and opening again', async (t) => {
  const path = await temporaryFolder(t);
  const first = await CheckpointStore.open({ path, log });
  assert.equal(first.get('orders'), undefined);
  await first.put([checkpoint('orders', 1), checkpoint('stock', 2)]);
  await first.put([checkpoint('orders', 3)]);
  assert.deepEqual(first.get('orders'), checkpoint('orders', 3));
  await first.close();
  await using second = await CheckpointStore.open({ path, log });
  assert.deepEqual(second.all(), [checkpoint('orders', 3), checkpoint('stock', 2)]);
});

test('of puts that are under way at once the last one counts, as at a stop', async (t) => {
  const path = await temporaryFolder(t);
  for (let round = 1; round <= 5; round += 1) {
    const store = await CheckpointStore.open({ path, log });
    await Promise.all([1, 2, 3].map((n) => store.put([checkpoint('a', round * 10 + n), checkpoint(`b${n}`, round)])));
    await store.close();
    await using again = await CheckpointStore.open({ path, log });
    assert.deepEqual(again.get('a'), checkpoint('a', round * 10 + 3));
    assert.deepEqual(again.get('b1'), checkpoint('b1', round));
  }
});

test('everything whose put resolved survives a SIGKILL, all records of one put or none', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    const path = await temporaryFolder(t);
    const child = startChild(
      t,
      `import { writeSync } from 'node:fs';
       import { CheckpointStore } from 'CHECKPOINT/store.ts';
       import { checkpoint } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
       const store = await CheckpointStore.open({ path: ${JSON.stringify(path)}, log: console });
       for (let i = 1; ; i += 1) {
         await store.put([checkpoint('a', i), checkpoint('b', i)]);
         writeSync(1, i + '\\n');
       }`,
    );
    await child.line(String(100 + round * 37));
    await child.kill();
    await using store = await CheckpointStore.open({ path, log });
    const resolved = Number(child.text.trim().split('\n').at(-1));
    const found = store.get('a')?.resume.ts.seconds ?? 0;
    assert.ok(found === resolved || found === resolved + 1, `${resolved} was confirmed, ${found} is there`);
    assert.equal(store.get('b')?.resume.ts.seconds, found);
  }
});

test('after the operating system went down, only what was flushed counts', async (t) => {
  const path = await temporaryFolder(t);
  const child = startChild(
    t,
    `import { CheckpointStore } from 'CHECKPOINT/store.ts';
     import { checkpoint } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
     const store = await CheckpointStore.open({ path: ${JSON.stringify(path)}, log: console });
     await store.put([checkpoint('a', 1)]);
     await store.flushed();
     await store.put([checkpoint('a', 2)]);
     console.log('ready');
     setInterval(() => undefined, 1000);`,
  );
  await child.line('ready');
  await child.kill();
  await rename(join(path, recentName()), join(path, 'recent-another-life'));
  await using store = await CheckpointStore.open({ path, log });
  assert.deepEqual(store.all(), [checkpoint('a', 1)]);
  assert.ok(!(await readdir(path)).includes('recent-another-life'));
});

test('a put does not wait for the disk, and many cost milliseconds at most', async (t) => {
  await using store = await CheckpointStore.open({ path: await temporaryFolder(t), log });
  const tookMs: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    const started = performance.now();
    await store.put([checkpoint('a', i), checkpoint('b', i)]);
    tookMs.push(performance.now() - started);
  }
  tookMs.sort((a, b) => a - b);
  assert.ok((tookMs[100] ?? 0) < 3, `the median was ${tookMs[100]} ms`);
});

test('flushes asked for together share one, and a flush takes what was put before it', async (t) => {
  await using store = await CheckpointStore.open({ path: await temporaryFolder(t), log });
  await store.put([checkpoint('a', 1)]);
  const running = store.flushed();
  await Promise.resolve();
  const second = store.flushed();
  assert.equal(store.flushed(), second);
  await Promise.all([running, second]);
});

test('gaps are kept oldest first, and forgetting a subscription keeps them', async (t) => {
  const path = await temporaryFolder(t);
  const gap = (at: number) => ({
    source: 'shop',
    subscription: 'orders',
    from: { seconds: at, increment: 1 },
    to: { seconds: at + 5, increment: 1 },
    reason: 'truncated',
    at,
  });
  const first = await CheckpointStore.open({ path, log });
  await first.addGap(gap(1_700_000_000_000));
  await first.addGap(gap(900));
  await first.put([checkpoint('orders', 1), checkpoint('stock', 1)]);
  await first.forget('orders', { beginsAnew: false });
  assert.deepEqual(first.all(), [checkpoint('stock', 1)]);
  await first.close();
  await using second = await CheckpointStore.open({ path, log });
  assert.deepEqual(second.all(), [checkpoint('stock', 1)]);
  assert.deepEqual(second.gaps(), [gap(900), gap(1_700_000_000_000)]);
});

test('what lies between a checkpoint that was forgotten and where its subscription begins anew is a gap, also after a restart', async (t) => {
  const path = await temporaryFolder(t);
  {
    await using store = await CheckpointStore.open({ path, log });
    await store.put([checkpoint('orders', 100), checkpoint('stock', 100)]);
    await store.forget('orders', { beginsAnew: true });
    await store.forget('stock', { beginsAnew: true });
    assert.deepEqual(store.gaps(), []);
  }
  {
    await using store = await CheckpointStore.open({ path, log });
    await store.put([checkpoint('stock', 50)]);
    assert.deepEqual(store.gaps(), [], 'it begins further back');
    await store.put([checkpoint('orders', 200)]);
    const found = store
      .gaps()
      .map(({ subscription, from, to, reason }) => [subscription, from.seconds, to.seconds, reason]);
    assert.deepEqual(found, [['orders', 100, 200, 'skipped']]);
    await store.put([checkpoint('orders', 300)]);
  }
  await using store = await CheckpointStore.open({ path, log });
  assert.equal(store.gaps()[0]?.to.seconds, 200);
  assert.equal(store.gaps().length, 1);
});
