import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

test('a log whose disk is full ends nothing, and is written again once there is room', async (t) => {
  if (spawnSync('prlimit', ['--version']).error !== undefined) return t.skip('there is no prlimit here');
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-log-'));
  t.after(async () => rm(folder, { recursive: true }));
  const stderr = openSync(join(folder, 'log'), 'w');
  const source = new URL('../../src/observe/log.ts', import.meta.url).href;
  const program = `
    import { createLog } from '${source}';
    import { execFileSync } from 'node:child_process';
    // A limit on the size of files, which can be lifted again, is the nearest thing to a full disk.
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
    const log = createLog('info');
    limit('4096');
    for (let n = 0; n < 50_000; n++) log.info({}, 'x'.repeat(100));
    await new Promise((resolve) => setTimeout(resolve, 200));
    limit('unlimited');
    log.info({}, 'room again');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'ignore', stderr],
  });
  closeSync(stderr);
  assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
  const lines = (await readFile(join(folder, 'log'), 'utf8')).trimEnd().split('\n');
  assert.ok(lines.length > 1_000 && lines.length < 20_000, `${lines.length} lines: what waited was not bounded`);
  assert.match(lines.at(-1)!, /room again/);
  return undefined;
});
