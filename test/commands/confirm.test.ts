import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { checkpointSet } from '../../src/commands/checkpoint-set.ts';
import { confirmed } from '../../src/commands/confirm.ts';
import { InterruptedError } from '../../src/errors.ts';
import { checkpoint, configured, recordedLog } from '../checkpoint/fixtures.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');
const log = recordedLog();

interface Screen {
  readonly input: PassThrough & { isTTY: boolean };
  readonly output: PassThrough & { isTTY: boolean };
}

function screen(): Screen {
  return {
    input: Object.assign(new PassThrough(), { isTTY: true }),
    output: Object.assign(new PassThrough(), { isTTY: true }),
  };
}

test('yes is yes; anything else is no', async () => {
  for (const [typed, answer] of [
    ['y\n', true],
    ['YES \n', true],
    ['\n', false],
    ['yesterday\n', false],
  ] as const) {
    const terminal = screen();
    terminal.input.write(typed);
    assert.equal(await confirmed('Drop it?', false, terminal), answer);
  }
});

test('Ctrl-C, and the end of the input, are no answer', async () => {
  for (const end of [(s: Screen) => s.input.write('\x03'), (s: Screen) => s.input.end()]) {
    const terminal = screen();
    const answer = confirmed('Drop it?', false, terminal);
    end(terminal);
    await assert.rejects(answer, InterruptedError);
    assert.match(String(terminal.output.read()), /Nothing was changed\.\n$/);
  }
});

test('a command that is ended at its question exits 130 without a stack, and changes nothing', async (t) => {
  if (spawnSync('script', ['--version']).error !== undefined) return t.skip('there is no script here');
  const file = await configured(t);
  const path = join(file, '..', 'data');
  const store = await CheckpointStore.open({ path, log });
  await store.put([checkpoint('orders', 1_795_327_615)]);
  await store.close();
  const command = [process.execPath, '--import', TSX, CLI, 'checkpoint', 'forget', 'orders', '-c', file].join(' ');
  // `script` gives it a terminal; what it ends with is the command's exit code.
  const terminal = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  terminal.stdout.on('data', (chunk: Buffer) => {
    const asked = shown.includes('[y/N]');
    shown += chunk.toString();
    if (!asked && shown.includes('[y/N]')) terminal.stdin.write('\x03');
  });
  const [code] = await once(terminal, 'close');
  assert.equal(code, 130, shown);
  assert.match(shown, /Forget it\? \[y\/N\]/);
  assert.match(shown, /Nothing was changed\.\s*$/);
  assert.doesNotMatch(shown, /Error|at .*\.ts/);
  await using again = await CheckpointStore.open({ path, log });
  assert.deepEqual(again.get('orders'), checkpoint('orders', 1_795_327_615));
  return undefined;
});

test('a position in the future is refused by the clock here where the source cannot be asked', async (t) => {
  const config = await configured(t);
  const store = await CheckpointStore.open({ path: join(config, '..', 'data'), log });
  await store.put([checkpoint('orders', 1_795_327_615)]);
  await store.close();
  const set = (position: string): Promise<number> =>
    checkpointSet({ config, subscription: 'orders', position, yes: true, write: () => undefined });
  const inMinutes = (minutes: number): string => new Date(Date.now() + minutes * 60_000).toISOString();
  await assert.rejects(set(inMinutes(5)), {
    code: 'start-in-future',
    message: /lies in the future.*Nothing was changed/,
  });
  assert.equal(await set(inMinutes(-5)), 0);
});
