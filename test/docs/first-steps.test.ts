/**
 * docs/first-steps.md, as a reader follows it: its commands in its order, in an empty folder with a shell, the program that was built and real
 * servers. Only what the package brings is put there beforehand, and the names are this test's own, as others use the same servers.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../harness/engine-process.ts';
import { freePort } from '../servers/ports.ts';
import { onBroker } from '../harness/on-broker.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NAME = randomUUID().slice(0, 8);
const [DATABASE, QUEUE] = [`first_${NAME}`, `first-steps-${NAME}`];

const servers = useSharedServers();

test('the commands of docs/first-steps.md do what it says', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-first-steps-'));
  t.after(async () => rm(folder, { recursive: true, force: true }));
  t.after(async () => {
    await servers.client.db(DATABASE).dropDatabase();
    await onBroker(servers.rabbit.uri, async (channel) => {
      await channel.deleteQueue(QUEUE);
      await channel.deleteExchange(QUEUE);
    });
  });
  await using shell = await Shell.in(folder);
  const steps = await stepsOf('docs/first-steps.md');

  // See changes.
  await shell.run(steps.next('cat > write.mjs'));
  await shell.run(steps.next('cat > read.mjs'));
  const tail = shell.start(steps.next('tailrace tail'));
  const write = steps.next('node write.mjs');
  await until('tail prints an insert and an update', async () => {
    await shell.run(write);
    return /"insert".*"update"/s.test(tail.output);
  });
  await tail.end();

  // A configuration.
  assert.match(await shell.run(steps.next('tailrace init')), /^Wrote .*connected to RabbitMQ.*Next: `tailrace check`/s);
  const file = join(folder, 'tailrace.yaml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replaceAll('changes', QUEUE).replace('127.0.0.1:9464', shell.address));
  assert.match(await shell.run(steps.next('tailrace check')), /\nAll is well\.\n$/);

  // Deliver.
  const first = shell.start(steps.next('tailrace run'));
  await first.says('Reading begins.');
  let came = await shell.run(steps.next('node write.mjs\nnode read.mjs'));
  await until('both changes come out of the queue', async () => {
    came += await shell.run('node read.mjs');
    return came.split('\n').length > 2;
  });
  assert.match(came, new RegExp(`^${DATABASE}\\.orders\\.insert \\{.*\n${DATABASE}\\.orders\\.update \\{.*\n$`));
  const looked = await shell.run(steps.next('tailrace top --once'));
  assert.match(looked, /^tailrace .*\nready\n.*CONFIRMED UP TO.*Nothing is parked\.\n$/s);

  // Stop, and go on.
  assert.equal(await first.end(), 0);
  await shell.run(steps.next('node write.mjs'));
  const second = shell.start(steps.next('tailrace run'));
  await second.says('Reading begins.');
  const again = steps.next('node read.mjs');
  let later = '';
  await until('what was written meanwhile comes out of the queue', async () => {
    later += await shell.run(again);
    return later.split('\n').length > 2;
  });
  assert.deepEqual(
    later.split('\n').map((line) => line.split(' ', 1)[0]),
    [`${DATABASE}.orders.insert`, `${DATABASE}.orders.update`, ''],
  );
  assert.equal(await second.end(), 0);
  steps.end();
});

/** The page's commands, each of which must be asked for in its turn: one that is new in the page wants to be tried here. */
async function stepsOf(page: string) {
  const text = await readFile(join(ROOT, page), 'utf8');
  const blocks = [...text.matchAll(/^```sh\n(?<block>[\s\S]*?)^```/gm)].map(({ groups }) => groups!['block']!.trim());
  // Installing is `test/package`'s, and these variables are set.
  const left = blocks.filter((block) => !/^npm |^export MONGODB_URI/.test(block));
  return {
    next(begins: string): string {
      const block = left.shift() ?? '';
      assert.ok(block.startsWith(begins), `${page}: the next command is "${block}", not "${begins}"`);
      return block.replaceAll('shop', DATABASE).replaceAll("'changes'", `'${QUEUE}'`);
    },
    end: () => assert.deepEqual(left, []),
  };
}

class Shell implements AsyncDisposable {
  /** `host:port` for the engine. */
  readonly address: string;
  readonly #folder: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #started: Running[] = [];

  static async in(folder: string): Promise<Shell> {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    const cli = join(ROOT, 'dist/cli.js');
    await writeFile(join(bin, 'tailrace'), `#!/bin/sh\nexec '${process.execPath}' '${cli}' "$@"\n`, { mode: 0o755 });
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    return new Shell(folder, bin, `127.0.0.1:${await freePort()}`);
  }

  private constructor(folder: string, bin: string, address: string) {
    this.#folder = folder;
    this.address = address;
    this.#env = {
      ...process.env,
      PATH: `${bin}:${process.env['PATH']}`,
      MONGODB_URI: servers.mongo.uri,
      AMQP_URI: servers.rabbit.uri,
      TAILRACE_URL: `http://${address}`,
    };
  }

  /** To its end; resolves with what it printed. */
  async run(commands: string): Promise<string> {
    const running = this.start(`set -e\n${commands}`);
    assert.equal(await running.exit, 0, `${commands}\n${running.output}`);
    return running.output;
  }

  start(commands: string): Running {
    const running = new Running(
      // A single command takes the shell's place, so that signals reach it.
      spawn('bash', ['-c', commands], { cwd: this.#folder, env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    this.#started.push(running);
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#started.map(async (one) => one.end()));
  }
}

class Running {
  output = '';
  readonly exit: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.exit = new Promise((resolve) => child.once('close', resolve));
  }

  async says(text: string): Promise<void> {
    await until(`it says "${text}"`, () => {
      assert.equal(this.#child.exitCode, null, this.output);
      return this.output.includes(text);
    });
  }

  /** Ctrl-C. */
  async end(): Promise<number | null> {
    this.#child.kill('SIGINT');
    return await this.exit;
  }
}
