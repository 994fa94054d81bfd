import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import {
  inOneTransaction,
  makeFolder,
  openEnvironment,
  removeStores,
  STATES,
  unmakeFolder,
} from '../../src/checkpoint/data-folder.ts';
import { lockFolder } from '../../src/checkpoint/folder-lock.ts';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, parked, recordedLog, temporaryFolder } from './fixtures.ts';

const log = recordedLog();

/** Modes by name, of all that lies in the folder; taken while an engine would be running. */
async function modesIn(path: string): Promise<Record<string, string>> {
  await using lock = await lockFolder(path);
  await using store = await CheckpointStore.open({ path, log });
  await store.put([checkpoint('orders', 1)]);
  await store.flushed();
  await using parking = await ParkingStore.open({ path, maxBytes: 1e6, log });
  await parking.put(parked('shop:1.1.0'), new AbortController().signal);
  const modes: Record<string, string> = {};
  for (const name of ['', ...(await readdir(path, { recursive: true }))]) {
    const { mode } = await stat(join(path, name));
    modes[name.replaceAll(/[0-9a-f]{8}-[-0-9a-f]+|\d+-[0-9a-f]{8}/g, 'x')] = (mode & 0o777).toString(8);
  }
  void lock;
  return modes;
}

function openUmask(t: TestContext): void {
  const before = process.umask(0);
  t.after(() => process.umask(before));
}

test('what is made in the data folder only its owner may read, whatever the umask', async (t) => {
  openUmask(t);
  const path = join(await temporaryFolder(t), 'var', 'data');
  const modes = await modesIn(path);
  assert.ok(Object.keys(modes).length >= 10, JSON.stringify(modes));
  for (const [name, mode] of Object.entries(modes)) {
    const isFolder = name === '' || !/[./]/.test(name);
    assert.equal(mode, isFolder ? '700' : '600', `"${name}" has ${mode}`);
  }
});

test('a folder that was there keeps its mode, and what is made inside is closed all the same', async (t) => {
  openUmask(t);
  const path = join(await temporaryFolder(t), 'data');
  await mkdir(path);
  await chmod(path, 0o755);
  const modes = await modesIn(path);
  assert.equal(modes[''], '755');
  assert.equal(modes['parked'], '700');
  assert.equal(modes[join('parked', 'data.mdb')], '600');
});

test('a folder that was made for nothing goes again, with the folders around it, unless something lies there', async (t) => {
  const path = await temporaryFolder(t);
  const inner = join(path, 'a', 'b');
  for (const isUsed of [false, true]) {
    const outermost = await makeFolder(inner);
    assert.equal(outermost, join(path, 'a'));
    await (await CheckpointStore.open({ path: inner, log })).close();
    if (isUsed) await writeFile(join(inner, 'notes'), 'mine');
    await removeStores(inner);
    await unmakeFolder(inner, outermost);
    assert.deepEqual(await readdir(path, { recursive: true }), isUsed ? ['a', 'a/b', 'a/b/notes'] : []);
  }
  assert.equal(await makeFolder(inner), undefined);
  await assert.rejects(makeFolder(join(inner, 'notes')), { code: 'EEXIST' });
});

test('whether the disk has room for much is tried without as much memory', async (t) => {
  const environment = openEnvironment(await temporaryFolder(t), STATES, 'write');
  t.after(async () => environment.close());
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const looking = setInterval(() => (most = Math.max(most, process.memoryUsage().arrayBuffers - before)), 1);
  try {
    await inOneTransaction(environment, () => undefined, { bytes: 100e6 });
  } finally {
    clearInterval(looking);
  }
  assert.ok(most < 20e6, `${most} bytes`);
});
