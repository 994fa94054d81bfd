/**
 * A real RabbitMQ node of our own beside any other: its own folders, ports, cookie and even port mapper (epmd), so that no
 * broker of the user's is seen or touched. Port and data stay the same over `kill` and `restart`; data lives until `stop`.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { newerRabbit } from './newer-rabbit.ts';
import { rabbitScripts } from './rabbit-binary.ts';
import type { RabbitScripts } from './rabbit-binary.ts';
import { reap, reapFolder, spare, spareFolder } from './reaper.ts';
import { killGroup, run, untilGone } from './run.ts';
import type { Progress } from './unavailable.ts';

export interface RabbitServer {
  readonly uri: string;
  /** Of the broker; 0 while it is down. */
  readonly pid: number;
  /** `rabbitmqctl` against this node; resolves with its output. */
  ctl(args: readonly string[]): Promise<string>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** A clean shutdown where it still runs, then the same data on the same port. */
  restart(): Promise<void>;
  /** SIGKILL, and all its data gone: `restart` brings up an empty broker. */
  wipe(): Promise<void>;
  closeConnections(reason: string): Promise<void>;
  /** On: publishers are blocked, as when memory runs short. */
  setMemoryAlarm(on: boolean): Promise<void>;
  stop(): Promise<void>;
}

export interface RabbitOptions {
  /** Lines of rabbitmq.conf. */
  readonly extraConfig?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Names of plugins that it comes with. */
  readonly plugins?: readonly string[];
  /** False: `AMQP_URI` of the environment will do. */
  readonly fresh?: boolean;
  /** "4.0", rather than whatever RabbitMQ is at hand. */
  readonly version?: string | undefined;
  readonly progress?: Progress;
}

const START_TIMEOUT_MS = 90_000;

export async function startRabbit({
  extraConfig = '',
  env = {},
  plugins = [],
  fresh = true,
  version,
  progress,
}: RabbitOptions = {}): Promise<RabbitServer> {
  const given = process.env['AMQP_URI'];
  if (!fresh && version === undefined && given !== undefined && given !== '') return givenRabbit(given);

  const scripts = await (version === undefined ? rabbitScripts(progress) : newerRabbit(version, progress));
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-rabbit-'));
  reapFolder(folder);
  const port = await freePort();
  const node = new OwnRabbit({
    scripts,
    folder,
    port,
    env: await prepare({ folder, port, extraConfig, env, plugins }),
  });
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.stop();
    throw error;
  }
}

/** Writes the node's files and returns the environment that its scripts need. */
async function prepare({
  folder,
  port,
  extraConfig,
  env,
  plugins,
}: {
  folder: string;
  port: number;
  extraConfig: string;
  env: NodeJS.ProcessEnv;
  plugins: readonly string[];
}): Promise<NodeJS.ProcessEnv> {
  const at = (name: string): string => join(folder, name);
  // A small disk shall not block publishers, unless a test wants just that.
  await writeFile(at('rabbitmq.conf'), `disk_free_limit.absolute = 1MB\n${extraConfig}\n`);
  await writeFile(at('env.conf'), '');
  await writeFile(at('plugins'), `[${plugins.join(',')}].`);
  await writeFile(at('.erlang.cookie'), randomBytes(15).toString('hex'), { mode: 0o400 });
  await mkdir(at('schema'));
  const inherited = Object.entries(process.env).filter(([name]) => !/^(RABBITMQ_|ERL_)/.test(name));
  return {
    ...Object.fromEntries(inherited),
    HOME: folder,
    ERL_EPMD_PORT: `${await freePort()}`,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `tailrace-${port}@localhost`,
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${await freePort()}`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_MNESIA_BASE: at('data'),
    RABBITMQ_LOG_BASE: at('log'),
    RABBITMQ_PID_FILE: at('pid'),
    RABBITMQ_ENABLED_PLUGINS_FILE: at('plugins'),
    RABBITMQ_FEATURE_FLAGS_FILE: at('feature-flags'),
    RABBITMQ_CONFIG_FILE: at('rabbitmq'),
    RABBITMQ_ADVANCED_CONFIG_FILE: at('advanced'),
    RABBITMQ_SCHEMA_DIR: at('schema'),
    // The machine's own settings for its broker are not for this one.
    RABBITMQ_CONF_ENV_FILE: at('env.conf'),
    // With these two the script turns into the broker instead of watching over it: our child's pid is the broker's.
    RABBITMQ_ALLOW_INPUT: 'true',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-noinput',
    ...env,
  };
}

class OwnRabbit implements RabbitServer {
  readonly uri: string;
  readonly #scripts: RabbitScripts;
  readonly #folder: string;
  readonly #port: number;
  readonly #env: NodeJS.ProcessEnv;
  #epmd: ChildProcess | undefined;
  #broker: ChildProcess | undefined;

  constructor({
    scripts,
    folder,
    port,
    env,
  }: {
    scripts: RabbitScripts;
    folder: string;
    port: number;
    env: NodeJS.ProcessEnv;
  }) {
    this.#scripts = scripts;
    this.#folder = folder;
    this.#port = port;
    this.#env = env;
    this.uri = `amqp://127.0.0.1:${port}`;
  }

  get pid(): number {
    const broker = this.#broker;
    return broker?.pid !== undefined && broker.exitCode === null && broker.signalCode === null ? broker.pid : 0;
  }

  async start(): Promise<void> {
    // Started here and in the foreground; else the broker starts one as a daemon, which would outlive it.
    this.#epmd ??= await this.#launch(this.#scripts.epmd, []);
    this.#broker = await this.#launch(this.#scripts.server, []);
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await answers(this.#port))) {
      if (this.pid === 0 || Date.now() > deadline) {
        const output = await readFile(join(this.#folder, 'output'), 'utf8').catch(() => '');
        throw new Error(`RabbitMQ did not start; the end of its output:\n${output.slice(-3_000)}`);
      }
      await sleep(50);
    }
  }

  ctl(args: readonly string[]): Promise<string> {
    return run(this.#scripts.ctl, args, { env: this.#env });
  }

  async kill(): Promise<void> {
    await this.#end(this.#broker, 'SIGKILL');
    this.#broker = undefined;
  }

  async restart(): Promise<void> {
    await this.#end(this.#broker, 'SIGTERM');
    await this.start();
  }

  async wipe(): Promise<void> {
    await this.kill();
    for (const name of ['data', 'feature-flags']) {
      await rm(join(this.#folder, name), { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async closeConnections(reason: string): Promise<void> {
    await this.ctl(['close_all_connections', reason]);
  }

  async setMemoryAlarm(on: boolean): Promise<void> {
    await this.ctl(['set_vm_memory_high_watermark', on ? '0' : '0.4']);
  }

  async stop(): Promise<void> {
    await this.kill();
    await this.#end(this.#epmd, 'SIGKILL');
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    spareFolder(this.#folder);
  }

  /** In a process group of its own, so that Ctrl-C in a terminal does not reach it before us. */
  async #launch(command: string, args: readonly string[]): Promise<ChildProcess> {
    const output = openSync(join(this.#folder, 'output'), 'a');
    const child = spawn(command, args, {
      env: this.#env,
      cwd: this.#folder,
      stdio: ['ignore', output, output],
      detached: true,
    });
    closeSync(output);
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    if (child.pid !== undefined) reap(child.pid);
    return child;
  }

  async #end(child: ChildProcess | undefined, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (child?.pid === undefined) return;
    if (signal === 'SIGKILL') killGroup(child.pid);
    else child.kill(signal);
    await untilGone(child.pid);
    spare(child.pid);
  }
}

/** Whether a broker greets us: the port alone may be open before it is ready. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 5_000 });
    const done = (ready: boolean): void => {
      resolve(ready);
      socket.destroy();
    };
    socket.once('connect', () => socket.write(Buffer.from('AMQP\0\0\u0009\u0001', 'latin1')));
    socket.once('data', (bytes) => done(bytes[0] === 1));
    for (const event of ['error', 'timeout', 'close'] as const) socket.once(event, () => done(false));
  });
}

function givenRabbit(uri: string): RabbitServer {
  const refuse = async (): Promise<never> => {
    throw new Error('this broker came from AMQP_URI: it is not ours to control');
  };
  return {
    uri,
    pid: 0,
    ctl: refuse,
    kill: refuse,
    restart: refuse,
    wipe: refuse,
    closeConnections: refuse,
    setMemoryAlarm: refuse,
    stop: async () => {},
  };
}
