import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { lockFolder } from '../../src/checkpoint/folder-lock.ts';
import { startChild, temporaryFolder } from './fixtures.ts';
import type { Child } from './fixtures.ts';
import type { TestContext } from 'node:test';

function lockingChild(t: TestContext, path: string): Child {
  return startChild(
    t,
    `import { lockFolder } from 'CHECKPOINT/folder-lock.ts';
     try {
       await lockFolder(${JSON.stringify(path)});
       console.log('locked');
     } catch (error) {
       console.log(error.code);
     }`,
  );
}

test('a folder that is locked is refused, naming the process that has it, and free again once disposed', async (t) => {
  const path = join(await temporaryFolder(t), 'data');
  const lock = await lockFolder(path);
  await assert.rejects(lockFolder(path), { code: 'folder-locked', message: new RegExp(`process id ${process.pid}`) });
  await lock[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(path), []);
  await (await lockFolder(path))[Symbol.asyncDispose]();
});

test('another process is refused while the owner lives, and gets the folder at once after a kill -9', async (t) => {
  const path = await temporaryFolder(t);
  const owner = lockingChild(t, path);
  await owner.line('locked');
  await assert.rejects(lockFolder(path), { code: 'folder-locked', message: new RegExp(`id ${owner.process.pid}`) });
  await owner.kill();
  const started = performance.now();
  const lock = await lockFolder(path);
  const tookMs = performance.now() - started;
  assert.ok(tookMs < 1000, `took ${tookMs} ms`);
  assert.equal((await readdir(path)).length, 1, 'the dead one’s socket is gone');
  await lock[Symbol.asyncDispose]();
});

test('an owner that is stopped or too busy to answer still has the folder', async (t) => {
  const path = await temporaryFolder(t);
  const owner = lockingChild(t, path);
  await owner.line('locked');
  owner.process.kill('SIGSTOP');
  await assert.rejects(lockFolder(path), { code: 'folder-locked', message: new RegExp(`id ${owner.process.pid}`) });
});

test('of many that start at once exactly one gets the folder', async (t) => {
  const path = await temporaryFolder(t);
  await (await lockingChildKilled(t, path)).kill();
  for (let round = 0; round < 20; round += 1) {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(path)));
    const won = results.filter((result) => result.status === 'fulfilled');
    assert.equal(won.length, 1);
    for (const result of results) {
      if (result.status === 'fulfilled') await result.value[Symbol.asyncDispose]();
      else await assert.rejects(Promise.reject(result.reason), { code: 'folder-locked' });
    }
  }
});

async function lockingChildKilled(t: TestContext, path: string): Promise<Child> {
  const child = lockingChild(t, path);
  await child.line('locked');
  return child;
}

test('a folder whose path is too long for a socket is locked all the same', async (t) => {
  const path = join(await temporaryFolder(t), 'long'.repeat(30), 'data');
  await mkdir(path, { recursive: true });
  const owner = lockingChild(t, path);
  await owner.line('locked');
  await assert.rejects(lockFolder(path), { code: 'folder-locked' });
  await owner.kill();
  const lock = await lockFolder(path);
  assert.equal((await readdir(path)).length, 1);
  await lock[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(path), []);
});
