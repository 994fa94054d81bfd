import assert from 'node:assert/strict';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { recentName } from '../../src/checkpoint/data-folder.ts';
import { RecentPositions, readRecent } from '../../src/checkpoint/recent.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpoint, recordedLog, temporaryFolder } from './fixtures.ts';

/** As a process leaves it that is killed: open files, nothing flushed. */
async function written(t: TestContext, ...seconds: number[]): Promise<string> {
  const path = await temporaryFolder(t);
  const { recent } = await RecentPositions.open(path);
  for (const at of seconds) await recent.write([checkpoint('a', at), checkpoint('b', at)]);
  await recent.close();
  return path;
}

const file = (path: string, name: 'a' | 'b'): string => join(path, recentName(), name);

test('what was written last is found, again and again, also where it is shorter than what was there', async (t) => {
  const path = await written(t, 1, 2, 3);
  assert.deepEqual((await readRecent(path)).records, [checkpoint('a', 3), checkpoint('b', 3)]);
  for (let at = 4; at < 8; at += 1) {
    const { recent, found } = await RecentPositions.open(path);
    assert.equal(found.records[0]?.resume.ts.seconds, at - 1);
    await recent.write([checkpoint('a', at)]);
    await recent.close();
    assert.deepEqual(await readRecent(path), { records: [checkpoint('a', at)] });
  }
});

test('a write that a kill cut short leaves what was written before it, wherever it was cut', async (t) => {
  const path = await written(t, 1, 2, 3);
  const last = await readFile(file(path, 'b'));
  const { size } = await stat(file(path, 'b'));
  for (let cut = 0; cut < size; cut += 97) {
    // Over what the file held before: the beginning is new, the rest is old.
    const torn = Buffer.from(await readFile(file(path, 'a')));
    last.copy(torn, 0, 0, cut);
    if (torn.equals(last)) continue;
    await writeFile(file(path, 'b'), cut % 2 === 0 ? torn.fill(0xa5, cut) : last.subarray(0, cut));
    const { records, damage } = await readRecent(path);
    assert.deepEqual([records[0]?.resume.ts.seconds, damage], [2, undefined], `cut at ${cut}`);
  }
});

test('where nothing of it is sound a start warns, and the flushed positions count', async (t) => {
  const path = await temporaryFolder(t);
  const first = await CheckpointStore.open({ path, log: recordedLog() });
  await first.put([checkpoint('a', 5)]);
  await first.close();
  for (const name of ['a', 'b'] as const) await truncate(file(path, name), 3);
  const log = recordedLog();
  await using store = await CheckpointStore.open({ path, log });
  assert.deepEqual(store.all(), [checkpoint('a', 5)]);
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0] ?? '', /^warn: .*damaged/);
});

test('a position that was set back does not come forward again by damage to the newest file', async (t) => {
  for (const name of ['a', 'b'] as const) {
    const path = await temporaryFolder(t);
    const first = await CheckpointStore.open({ path, log: recordedLog() });
    await first.put([checkpoint('a', 500)]);
    await first.set(checkpoint('a', 20));
    await first.close();
    await truncate(file(path, name), 30);
    await using second = await CheckpointStore.open({ path, log: recordedLog() });
    assert.deepEqual(second.all(), [checkpoint('a', 20)]);
  }
});
