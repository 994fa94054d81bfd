import assert from 'node:assert/strict';
import { readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { readCopy } from '../../src/checkpoint/copy.ts';
import { COPY, recentName } from '../../src/checkpoint/data-folder.ts';
import { restoreCheckpoints } from '../../src/checkpoint/restore.ts';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, parked, recordedLog, startChild, temporaryFolder } from './fixtures.ts';

const log = recordedLog();
const gap = {
  source: 'shop',
  subscription: 'orders',
  from: { seconds: 1, increment: 1 },
  to: { seconds: 2, increment: 1 },
  reason: 'truncated',
  at: 1_700_000_000_000,
};

async function filled(t: TestContext): Promise<string> {
  const path = await temporaryFolder(t);
  const store = await CheckpointStore.open({ path, log });
  await store.addGap(gap);
  await store.put([checkpoint('orders', 5), { ...checkpoint('stock', 6), watermark: undefined }]);
  await store.close();
  return path;
}

const damage = (path: string): Promise<void> => truncate(join(path, 'checkpoints', 'data.mdb'), 8_192);

test('a closed store has a copy that a person can read, with all records and gaps', async (t) => {
  const path = await filled(t);
  const copy = await readCopy(path);
  assert.deepEqual(copy?.records, [checkpoint('orders', 5), { ...checkpoint('stock', 6), watermark: undefined }]);
  assert.deepEqual(copy?.gaps, [gap]);
  const text = await readFile(join(path, COPY), 'utf8');
  assert.equal((JSON.parse(text) as { version: number }).version, 1);
  assert.match(text, /^\{.*"subscription":"orders","source":"shop".*\},$/m);
});

test('a new subscription, and a new gap, are in the copy as soon as they are flushed', async (t) => {
  const path = await temporaryFolder(t);
  await using store = await CheckpointStore.open({ path, log });
  assert.equal(await readCopy(path), undefined);
  for (const name of ['a', 'b', 'c']) {
    await store.put([checkpoint(name, 1)]);
    await store.flushed();
    assert.equal((await readCopy(path))?.records.at(-1)?.subscription, name);
  }
  await store.addGap(gap);
  await store.flushed();
  assert.equal((await readCopy(path))?.gaps.length, 1);
});

test('the copy is never ahead of what is in the store, whenever the process is killed, and at most seconds behind', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    const path = await temporaryFolder(t);
    const child = startChild(
      t,
      `import { writeSync } from 'node:fs';
       import { CheckpointStore } from 'CHECKPOINT/store.ts';
       import { checkpoint } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
       const store = await CheckpointStore.open({ path: ${JSON.stringify(path)}, log: console });
       for (let i = 1; ; i += 1) {
         await store.put([checkpoint('a', i)]);
         if (i % 5 === 0) await store.flushed();
         // Without the pause in between that a busy engine makes.
         if (i % 7 === 0) { await store.addGap({ ...${JSON.stringify(gap)}, at: i }); await store.flushed(); }
         writeSync(1, i + '\\n');
       }`,
    );
    await child.line(String(50 + round * 23));
    await child.kill();
    const copied = (await readCopy(path))?.records[0]?.resume.ts.seconds ?? 0;
    await using store = await CheckpointStore.open({ path, log });
    const stored = store.get('a')?.resume.ts.seconds ?? 0;
    assert.ok(copied > stored - 60 && copied <= stored, `${copied} in the copy, ${stored} in the store`);
  }
});

test('a damaged store is rebuilt from its copy, and kept aside', async (t) => {
  const path = await filled(t);
  await rm(join(path, recentName()), { recursive: true });
  await damage(path);
  await assert.rejects(CheckpointStore.open({ path, log }), {
    code: 'store-damaged',
    message: /`tailrace checkpoint restore`/,
  });
  const restored = await restoreCheckpoints(path);
  assert.equal(restored?.movedAside.length, 1);
  assert.ok((await readdir(path)).includes(restored.movedAside[0]!));
  const store = await CheckpointStore.open({ path, log });
  assert.deepEqual(store.get('orders'), checkpoint('orders', 5));
  assert.deepEqual(store.gaps(), [gap]);
  await store.close();
  assert.equal(await restoreCheckpoints(path), undefined, 'a sound one is left alone');
  assert.ok((await readdir(path)).includes(restored.movedAside[0]!), 'what was kept aside is not thrown away');
});

test('what the last moments left beside a damaged store counts where it is sound, and is moved aside where it is not', async (t) => {
  for (const isSound of [true, false]) {
    const path = await filled(t);
    const text = await readFile(join(path, COPY), 'utf8');
    const store = await CheckpointStore.open({ path, log });
    await store.put([checkpoint('orders', 9)]);
    await store.close();
    await writeFile(join(path, COPY), text);
    await damage(path);
    if (!isSound) for (const file of ['a', 'b']) await truncate(join(path, recentName(), file), 20);
    const restored = await restoreCheckpoints(path);
    assert.equal(restored?.movedAside.length, isSound ? 1 : 2);
    await using again = await CheckpointStore.open({ path, log });
    assert.deepEqual(again.get('orders'), checkpoint('orders', isSound ? 9 : 5));
  }
});

test('a store that has gone while its copy tells of one is not taken for a new folder', async (t) => {
  const path = await filled(t);
  await rm(join(path, 'checkpoints'), { recursive: true });
  await assert.rejects(CheckpointStore.open({ path, log }), {
    code: 'store-damaged',
    message: /are not there, .* has those of orders/,
  });
  await restoreCheckpoints(path);
  await using store = await CheckpointStore.open({ path, log });
  assert.deepEqual(store.get('orders'), checkpoint('orders', 5));
});

for (const [how, gut] of [
  ['emptied', async (file: string) => writeFile(file, '')],
  ['removed', async (file: string) => rm(file)],
] as const) {
  test(`a store whose file was ${how}, which LMDB takes for a new one, is refused, and restored with its gaps`, async (t) => {
    const path = await filled(t);
    await gut(join(path, 'checkpoints', 'data.mdb'));
    for (let n = 0; n < 2; n++) {
      await assert.rejects(CheckpointStore.open({ path, log }), { code: 'store-damaged' });
    }
    await restoreCheckpoints(path);
    await using store = await CheckpointStore.open({ path, log });
    assert.deepEqual(store.get('orders'), checkpoint('orders', 5));
    assert.deepEqual(store.gaps(), [gap]);
  });

  test(`a store of parked events whose file was ${how} is not taken for a new one`, async (t) => {
    const path = await filled(t);
    const parking = await ParkingStore.open({ path, maxBytes: 2 ** 20, log });
    await parking.put(parked('shop:1.1.0'), new AbortController().signal);
    await parking.close();
    await gut(join(path, 'parked', 'data.mdb'));
    await assert.rejects(CheckpointStore.open({ path, log }), { code: 'store-damaged', message: /parked events/ });
  });
}

test('a store in order that lacks what its copy has is refused, and restored', async (t) => {
  const path = await filled(t);
  await rm(join(path, recentName()), { recursive: true });
  const text = await readFile(join(path, COPY), 'utf8');
  await rm(join(path, 'checkpoints'), { recursive: true });
  await rm(join(path, COPY));
  await (await CheckpointStore.open({ path, log })).close();
  await writeFile(join(path, COPY), text);
  await assert.rejects(CheckpointStore.open({ path, log }), { code: 'store-damaged', message: /lack those of orders/ });
  await restoreCheckpoints(path);
  await using store = await CheckpointStore.open({ path, log });
  assert.deepEqual(store.get('orders'), checkpoint('orders', 5));
});

test('a copy that is cut off, edited, newer or missing restores nothing', async (t) => {
  const path = await filled(t);
  await damage(path);
  const file = join(path, COPY);
  const text = await readFile(file, 'utf8');
  for (const [damaged, code] of [
    [text.slice(0, -3), 'store-damaged'],
    [text.replace('"seconds":5', '"seconds":6'), 'store-damaged'],
    ['', 'store-damaged'],
    [text.replace('"version":1', '"version":2'), 'store-newer'],
  ] as const) {
    await writeFile(file, damaged);
    await assert.rejects(restoreCheckpoints(path), { name: 'UserError', code });
  }
  await rm(file);
  await assert.rejects(restoreCheckpoints(path), { code: 'store-damaged', message: /there is no checkpoints\.json/ });
});

test('beside a sound store a damaged copy is no damage', async (t) => {
  const path = await filled(t);
  await writeFile(join(path, COPY), 'cut off');
  const before = await readdir(path);
  assert.equal(await restoreCheckpoints(path), undefined);
  assert.deepEqual(await readdir(path), before);
  // One with nothing in it may have been emptied.
  await writeFile(join(path, 'checkpoints', 'data.mdb'), '');
  await assert.rejects(restoreCheckpoints(path), { code: 'store-damaged' });
});

test('a position that a user set, earlier or later, and a subscription that was forgotten, are so in the copy too', async (t) => {
  const path = await filled(t);
  const store = await CheckpointStore.open({ path, log });
  await store.set(checkpoint('orders', 2));
  assert.deepEqual((await readCopy(path))?.records[0], checkpoint('orders', 2));
  await store.forget('orders', { beginsAnew: false });
  assert.deepEqual(
    (await readCopy(path))?.records.map(({ subscription }) => subscription),
    ['stock'],
  );
  await store.close();
});
