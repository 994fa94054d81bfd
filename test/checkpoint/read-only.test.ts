import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import test from 'node:test';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { readCheckpoints, readParked } from '../../src/checkpoint/read-only.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, parked, recordedLog, startChild, temporaryFolder } from './fixtures.ts';

test('a folder without stores reads as empty and stays empty', async (t) => {
  const path = await temporaryFolder(t);
  assert.deepEqual(await readCheckpoints(path), { records: [], gaps: [] });
  assert.deepEqual(await readParked(path, {}, ({ summary }) => summary), { parked: [], storeBytes: 0 });
  assert.deepEqual(await readdir(path), []);
});

test('what a running engine in another process put a moment ago is read, flushed or not', async (t) => {
  const path = await temporaryFolder(t);
  const child = startChild(
    t,
    `import { CheckpointStore } from 'CHECKPOINT/store.ts';
     import { ParkingStore } from 'CHECKPOINT/parking.ts';
     import { checkpoint, parked } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
     const path = ${JSON.stringify(path)};
     const store = await CheckpointStore.open({ path, log: console });
     const parking = await ParkingStore.open({ path, log: console, maxBytes: 1e6 });
     await store.put([checkpoint('stock', 1), checkpoint('orders', 1)]);
     await store.flushed();
     await store.put([checkpoint('orders', 2)]);
     await parking.put(parked('shop:1.1.0'), new AbortController().signal);
     console.log('ready');
     setInterval(() => store.put([checkpoint('stock', 1)]), 1);`,
  );
  await child.line('ready');
  const { records } = await readCheckpoints(path);
  assert.deepEqual(records, [checkpoint('orders', 2), checkpoint('stock', 1)]);
  assert.deepEqual((await readParked(path, {}, ({ summary }) => summary.id)).parked, ['shop:1.1.0']);
  assert.deepEqual((await readParked(path, { reason: 'too-large' }, ({ summary }) => summary)).parked, []);
  assert.equal(child.process.exitCode, null, 'the engine goes on');
});

test('reading changes nothing for the engine that opens next', async (t) => {
  const path = await temporaryFolder(t);
  const log = recordedLog();
  const store = await CheckpointStore.open({ path, log });
  await store.put([checkpoint('orders', 1)]);
  await store.close();
  const parking = await ParkingStore.open({ path, log, maxBytes: 1e6 });
  await parking.put(parked('shop:1.1.0'), new AbortController().signal);
  await parking.close();
  await readCheckpoints(path);
  await readParked(path, {}, ({ summary }) => summary);
  await using again = await CheckpointStore.open({ path, log });
  await again.put([checkpoint('orders', 2)]);
  assert.deepEqual(again.get('orders'), checkpoint('orders', 2));
});
