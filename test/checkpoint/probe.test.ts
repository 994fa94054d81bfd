import assert from 'node:assert/strict';
import { chmod, readFile, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { probeStores } from '../../src/checkpoint/probe.ts';
import { restoreCheckpoints } from '../../src/checkpoint/restore.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, parked, recordedLog, temporaryFolder } from './fixtures.ts';

/** A folder with enough in it that the file has pages to lose. */
async function usedFolder(t: TestContext): Promise<string> {
  const path = await temporaryFolder(t);
  const log = recordedLog();
  await using store = await CheckpointStore.open({ path, log });
  await using parking = await ParkingStore.open({ path, log, maxBytes: 1e9 });
  for (let i = 0; i < 20; i += 1) {
    await store.put(Array.from({ length: 50 }, (_, n) => checkpoint(`subscription-${n}`, i)));
    await store.flushed();
  }
  const stop = new AbortController().signal;
  await Promise.all(Array.from({ length: 300 }, (_, i) => parking.put(parked(`shop:1.${i}.0`), stop)));
  return path;
}

const damages: Record<string, (file: string) => Promise<void>> = {
  'cut to a quarter': async (file) => truncate(file, Math.floor((await stat(file)).size / 4)),
  'cut to its meta pages': (file) => truncate(file, 8192),
  'cut to nothing but a few bytes': (file) => truncate(file, 100),
  'not an LMDB file': (file) => writeFile(file, 'this is no database\n'.repeat(3000)),
  'garbage behind the meta pages': async (file) => {
    const bytes = await readFile(file);
    bytes.fill(0xa5, 8192);
    await writeFile(file, bytes);
  },
  'meta pages that point past the end': async (file) => {
    const bytes = await readFile(file);
    // Behind the page header, magic, version, address and map size come the two roots.
    for (const page of [0, 4096]) bytes.fill(0x7f, page + 40, page + 136);
    await writeFile(file, bytes);
  },
  'one flipped bit in every record': async (file) => {
    const bytes = await readFile(file);
    for (let at = bytes.indexOf('increment'); at !== -1; at = bytes.indexOf('increment', at + 1)) {
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    }
    for (let at = bytes.indexOf('undecodable'); at !== -1; at = bytes.indexOf('undecodable', at + 1)) {
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    }
    await writeFile(file, bytes);
  },
};

for (const [what, damage] of Object.entries(damages)) {
  for (const name of ['checkpoints', 'parked']) {
    test(`a store in \`${name}\` that is ${what} is refused without dying of it`, async (t) => {
      const path = await usedFolder(t);
      await damage(join(path, name, 'data.mdb'));
      await assert.rejects(CheckpointStore.open({ path, log: recordedLog() }), {
        name: 'UserError',
        code: 'store-damaged',
        message: new RegExp(`${join(path, name)} is damaged|${join(path, name)} are damaged`),
      });
      await assert.rejects(probeStores({ path, mode: 'read' }), { code: 'store-damaged' });
    });
  }
}

test('a sound store passes and is not changed by the look at it', async (t) => {
  const path = await usedFolder(t);
  const file = join(path, 'checkpoints', 'data.mdb');
  const before = await readFile(file);
  const started = performance.now();
  await probeStores({ path, mode: 'write' });
  t.diagnostic(`took ${(performance.now() - started).toFixed(0)} ms`);
  assert.deepEqual(await readFile(file), before);
});

test('a new folder costs no child process', async (t) => {
  const path = await temporaryFolder(t);
  const started = performance.now();
  await probeStores({ path, mode: 'write' });
  assert.ok(performance.now() - started < 10);
});

/** What is run instead of Node; undone after the test. */
async function insteadOfNode(t: TestContext, script: string | undefined): Promise<void> {
  const node = process.execPath;
  t.after(() => (process.execPath = node));
  process.execPath = join(await temporaryFolder(t), 'node');
  if (script === undefined) return;
  await writeFile(process.execPath, `#!/bin/sh\n${script}\n`);
  await chmod(process.execPath, 0o700);
}

for (const [what, script, said] of [
  ['cannot be started', undefined, /could not be checked.*ENOENT.*says nothing about the stores/],
  ['does not come as far as the stores', 'echo "no threads left" >&2; exit 1', /no threads left/],
  ['is ended from outside', 'echo checkpoints; kill -9 $$', /SIGKILL/],
] as const) {
  test(`a look that ${what} says nothing about the store, which is left where it is`, async (t) => {
    const path = await usedFolder(t);
    const before = await readdir(path);
    await insteadOfNode(t, script);
    const refusal = { name: 'UserError', code: 'store-unchecked', message: said };
    await assert.rejects(CheckpointStore.open({ path, log: recordedLog() }), refusal);
    await assert.rejects(restoreCheckpoints(path), refusal);
    assert.deepEqual(await readdir(path), before);
  });
}
