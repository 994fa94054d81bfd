/**
 * The built command as a user runs it, for scenarios that watch one engine closely: its log, its status, its memory second by
 * second, what it has cost. Each has a folder of its own, which lasts over restarts.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { reap, spare } from '../test/servers/reaper.ts';
import { cpuSeconds, peakRssBytes, rssBytes } from './process-cost.ts';

export interface EngineOptions {
  /** `tailrace.yaml`, without `checkpoint` and `http`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Kept, with the checkpoint in it, unless it is left out. */
  readonly folder?: string;
  /** Another build's cli.js. */
  readonly cli?: string | undefined;
  readonly nodeFlags?: readonly string[];
  readonly sampleEveryMs?: number;
}

interface Started {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly startedAt: number;
  readonly sampleEveryMs: number;
}

export interface MemorySample {
  /** Since the process was started. */
  readonly atSeconds: number;
  readonly rssBytes: number;
}

/** As far as scenarios ask. */
export interface Status {
  readonly subscriptions: Readonly<
    Record<string, { readonly watermark: string | null; readonly state: string; readonly eventsPublished: number }>
  >;
  readonly snapshots: readonly { readonly state: string }[];
}

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const SAMPLE_MS = 1_000;
const POLL_MS = 25;

export class EngineProcess implements AsyncDisposable {
  readonly folder: string;
  /** `performance.now()` of this process when it was started. */
  readonly startedAt: number;
  readonly samples: MemorySample[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #sampling: NodeJS.Timeout;
  #url: string | undefined;
  #peakRss = 0;
  #cpu = 0;

  private constructor({ child, folder, startedAt, sampleEveryMs }: Started) {
    this.#child = child;
    this.folder = folder;
    this.startedAt = startedAt;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
    this.#sampling = setInterval(() => this.sample(), sampleEveryMs);
  }

  static async start({
    config,
    folder,
    cli = CLI,
    nodeFlags = [],
    sampleEveryMs = SAMPLE_MS,
  }: EngineOptions): Promise<EngineProcess> {
    const home = folder ?? (await engineFolder());
    const file = join(home, 'tailrace.yaml');
    const own = { checkpoint: { path: './data' }, http: { listen: '127.0.0.1:0' } };
    await writeFile(file, stringify({ ...config, ...own }));
    const log = openSync(join(home, 'log'), 'w');
    const startedAt = performance.now();
    const child = spawn(process.execPath, [...nodeFlags, cli, 'run', '-c', file], {
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    if (child.pid === undefined) throw new Error(`${process.execPath} cannot be started`);
    reap(child.pid);
    return new EngineProcess({ child, folder: home, startedAt, sampleEveryMs });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The most it held at once, as of the last sample. */
  get peakRssBytes(): number {
    return this.#peakRss;
  }

  /** As of the last sample. */
  get cpuSeconds(): number {
    return this.#cpu;
  }

  /** Looks at memory and CPU now; it is done each second anyway. */
  sample(): MemorySample | undefined {
    if (!this.running) return undefined;
    const atSeconds = Math.round((performance.now() - this.startedAt) / 100) / 10;
    const sample = { atSeconds, rssBytes: rssBytes(this.pid) };
    this.samples.push(sample);
    this.#peakRss = peakRssBytes(this.pid);
    this.#cpu = cpuSeconds(this.pid);
    return sample;
  }

  /** Lines of its log, parsed; what is no JSON is left out. */
  log(): { readonly time: string; readonly msg: string; readonly url?: string }[] {
    return readFileSync(join(this.folder, 'log'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  }

  async get(path: string): Promise<Response> {
    return fetch(new URL(path, await this.#address()));
  }

  /** JSON; throws where it is refused. */
  async post(path: string, body: object): Promise<void> {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(new URL(path, await this.#address()), {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
  }

  async #address(): Promise<string> {
    while (this.#url === undefined) {
      this.check();
      this.#url = this.log().find(({ url }) => url !== undefined)?.url;
      if (this.#url === undefined) await sleep(POLL_MS);
    }
    return this.#url;
  }

  async status(): Promise<Status> {
    // oxlint-disable-next-line no-unsafe-type-assertion -- what the engine answers
    return (await (await this.get('/status')).json()) as Status;
  }

  async ready(): Promise<void> {
    while (!(await this.get('/readyz')).ok) await sleep(POLL_MS);
  }

  /** Throws when it has ended by itself. */
  check(): void {
    if (this.running) return;
    const log = readFileSync(join(this.folder, 'log'), 'utf8');
    throw new Error(`the engine has ended; its log ends:\n${log.slice(-2_000)}`);
  }

  /** What is awaited, or the error that the engine has ended before. */
  async whileRunning<T>(awaited: Promise<T>): Promise<T> {
    const ended = this.#ended.then((): never => {
      this.check();
      throw new Error('unreachable: it has ended');
    });
    ended.catch(() => undefined);
    return Promise.race([awaited, ended]);
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    clearInterval(this.#sampling);
    if (this.running) {
      this.sample();
      this.#child.kill(signal);
      await this.#ended;
    }
    spare(this.pid);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop('SIGKILL');
  }
}

export function engineFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'tailrace-bench-'));
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
