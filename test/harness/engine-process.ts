/** The built command as users run it, in a process of its own that can be stopped, killed and asked. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { isMapping } from '../../src/config/salvage.ts';
import type { StatusReport } from '../../src/observe/status.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

const ANSWER_MS = 10_000;

/** A folder with a `tailrace.yaml`, and engines that run on it one after another. */
export class EngineFolder implements AsyncDisposable {
  readonly folder: string;
  readonly #running = new Set<EngineProcess>();
  #runs = 0;
  #token: string | undefined;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(config: object): Promise<EngineFolder> {
    const place = new EngineFolder(await mkdtemp(join(tmpdir(), 'tailrace-test-')));
    await place.configure(config);
    return place;
  }

  async configure(config: object): Promise<void> {
    const http = { listen: '127.0.0.1:0' };
    this.#token = tokenIn(config);
    await writeFile(join(this.folder, 'tailrace.yaml'), stringify({ http, ...config }));
  }

  /** Starts; does not wait for anything. */
  start(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): EngineProcess {
    this.#runs += 1;
    const log = join(this.folder, `run-${this.#runs}.log`);
    const engine = new EngineProcess({ folder: this.folder, log, args, env, token: this.#token });
    this.#running.add(engine);
    void engine.exit.then(() => this.#running.delete(engine));
    return engine;
  }

  /** Another command on the same folder; resolves when it has ended. */
  async command(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [CLI, ...args], { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, stdout, stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running].map(async (engine) => engine.kill()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

function tokenIn(config: object): string | undefined {
  const http: unknown = 'http' in config ? config.http : undefined;
  const token: unknown = isMapping(http) ? http['token'] : undefined;
  return typeof token === 'string' ? token : undefined;
}

interface EngineProcessOptions {
  readonly folder: string;
  /** A file. */
  readonly log: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Where the API asks for one. */
  readonly token: string | undefined;
}

export class EngineProcess {
  readonly #child: ChildProcess;
  readonly #logPath: string;
  /** The exit code, or the signal's name. */
  readonly exit: Promise<number | string>;
  #url: string | undefined;
  readonly #token: string | undefined;

  constructor({ folder, log: logPath, args, env, token }: EngineProcessOptions) {
    this.#logPath = logPath;
    this.#token = token;
    const log = openSync(logPath, 'w');
    this.#child = spawn(process.execPath, [CLI, 'run', ...args], {
      cwd: folder,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
    });
    this.exit = new Promise((resolve) =>
      this.#child.once('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
    );
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exit;
  }

  /** SIGTERM; resolves with how it ended. */
  async terminate(): Promise<number | string> {
    this.#child.kill('SIGTERM');
    return this.exit;
  }

  /** How it ended; of one that should end by itself. */
  async ended(withinMs = 60_000): Promise<number | string> {
    let outcome: number | string | undefined;
    void this.exit.then((how) => (outcome = how));
    await until('the engine ends', () => outcome !== undefined, withinMs);
    return await this.exit;
  }

  log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  /** Why it ended, from its last line; of one that failed. */
  fatal(): Fatal {
    const line = this.log().trimEnd().split('\n').at(-1) ?? '';
    const said = JSON.parse(line) as Fatal & { level: string };
    if (said.level !== 'fatal') throw new Error(`the last line is not why it ended: ${line}`);
    return said;
  }

  async status(): Promise<StatusReport> {
    return (await (await this.#ask('/status')).json()) as StatusReport;
  }

  /** `/readyz`: whether it answers 200, and its reasons. */
  async ready(): Promise<{ ok: boolean; reasons: string[] }> {
    return (await (await this.#ask('/readyz')).json()) as { ok: boolean; reasons: string[] };
  }

  /** `/healthz`, likewise. */
  async healthy(): Promise<{ ok: boolean; reasons: string[] }> {
    return (await (await this.#ask('/healthz')).json()) as { ok: boolean; reasons: string[] };
  }

  /** The sum of a metric over its label sets. */
  async metric(name: string): Promise<number> {
    const text = await (await this.#ask('/metrics')).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      if (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) sum += Number(line.slice(line.lastIndexOf(' ')));
    }
    return sum;
  }

  /** Resident memory of the process now, in bytes. */
  async rss(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(?<kib>\d+) kB/.exec(status)?.groups?.['kib'] ?? 0) * 1024;
  }

  /** One that is stopped (SIGSTOP) takes the connection and never answers. */
  async #ask(path: string): Promise<Response> {
    const headers = this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
    return await fetch(`${await this.url()}${path}`, { headers, signal: AbortSignal.timeout(ANSWER_MS) });
  }

  /** Where it listens, once it does. */
  async url(): Promise<string> {
    const end = Date.now() + 20_000;
    for (;;) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new EngineEnded(this.log());
      if (this.#url !== undefined) break;
      this.#url = /"url":"(?<url>http:[^"]+)"/.exec(this.log())?.groups?.['url'];
      if (this.#url !== undefined) break;
      if (Date.now() > end) throw new Error(`no HTTP address in the log: ${this.log()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.#url;
  }
}

interface Fatal {
  readonly code: string;
  readonly exitCode: number;
  readonly msg: string;
}

/** There is nobody to ask any more. */
class EngineEnded extends Error {
  constructor(log: string) {
    super(`the engine has ended: ${log}`);
  }
}

/** Polls until it is so; `what` is in the error when it never is. */
export async function until(what: string, check: () => Promise<boolean> | boolean, withinMs = 60_000): Promise<void> {
  const end = Date.now() + withinMs;
  for (;;) {
    let trouble: unknown;
    try {
      if (await check()) return;
    } catch (error) {
      if (error instanceof EngineEnded) throw error;
      trouble = error;
    }
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`, { cause: trouble });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
