/** The built engine as a user runs it: a process of its own that is told to stop by SIGTERM. Its log goes to a file. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { reap, spare } from '../../test/servers/reaper.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const READY_TIMEOUT_MS = 30_000;

export class EngineProcess {
  readonly logPath: string;
  readonly #child: ChildProcess;
  #url = '';

  private constructor(child: ChildProcess, logPath: string) {
    this.#child = child;
    this.logPath = logPath;
  }

  /** Resolves once `/readyz` says yes: both ends are connected, and the position where reading starts is stored. */
  static async start({ config, logPath }: { config: string; logPath: string }): Promise<EngineProcess> {
    const log = openSync(logPath, 'a');
    const child = spawn(process.execPath, [CLI, 'run', '-c', config], { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    if (child.pid !== undefined) reap(child.pid);
    const engine = new EngineProcess(child, logPath);
    await engine.#ready();
    return engine;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The sum of all samples with that name, whatever their labels. */
  async metrics(): Promise<(name: string) => number> {
    const text = await (await fetch(`${this.#url}/metrics`)).text();
    return (name) =>
      text
        .split('\n')
        .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
        .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /** SIGTERM; resolves with the exit code, or the signal it died of. */
  async stop(): Promise<number | string> {
    const child = this.#child;
    if (this.running) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }
    if (child.pid !== undefined) spare(child.pid);
    return child.exitCode ?? child.signalCode ?? 'unknown';
  }

  async #ready(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (Date.now() < deadline && this.running) {
      if (this.#url === '') this.#url = await listeningUrl(this.logPath);
      else if ((await fetch(`${this.#url}/readyz`)).ok) return;
      await sleep(50);
    }
    const why = this.running ? `is not ready after ${READY_TIMEOUT_MS / 1_000} s` : `ended: ${await this.stop()}`;
    throw new Error(`the engine ${why}; its log: ${this.logPath}`);
  }
}

/** With port 0 the engine picks one and logs where it listens. */
async function listeningUrl(logPath: string): Promise<string> {
  const log = await readFile(logPath, 'utf8');
  return /"url":"(http:[^"]+)".*listening/.exec(log)?.[1]?.replace(/\/$/, '') ?? '';
}
