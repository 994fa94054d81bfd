/** A real Prometheus of our own, in a folder that goes with it. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { freePort } from './ports.ts';
import { prometheusBinaries } from './prometheus-binary.ts';
import { reap, reapFolder, spare, spareFolder } from './reaper.ts';
import { killGroup, untilGone } from './run.ts';

export interface PrometheusServer extends AsyncDisposable {
  /** `data` of the answer of its HTTP API. */
  ask(path: string, parameters?: Readonly<Record<string, string>>): Promise<unknown>;
}

export async function startPrometheus(config: object): Promise<PrometheusServer> {
  const { prometheus } = await prometheusBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-prometheus-'));
  reapFolder(folder);
  await writeFile(join(folder, 'prometheus.yml'), stringify(config));
  const listen = `127.0.0.1:${await freePort()}`;
  const output = openSync(join(folder, 'output'), 'a');
  const child = spawn(
    prometheus,
    ['--config.file=prometheus.yml', '--storage.tsdb.path=data', `--web.listen-address=${listen}`],
    { cwd: folder, stdio: ['ignore', output, output], detached: true },
  );
  closeSync(output);
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!));
    child.once('error', reject);
  });
  reap(pid);
  const stop = async (): Promise<void> => {
    killGroup(pid);
    await untilGone(pid);
    spare(pid);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    spareFolder(folder);
  };
  const end = Date.now() + 60_000;
  while (
    !(await fetch(`http://${listen}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || Date.now() > end) {
      const said = await readFile(join(folder, 'output'), 'utf8');
      await stop();
      throw new Error(`Prometheus did not start: ${said.slice(-3_000)}`);
    }
    await sleep(100);
  }
  return {
    async ask(path, parameters = {}) {
      const body = new URLSearchParams(parameters);
      const response = await fetch(`http://${listen}/api/v1/${path}?${body.toString()}`);
      const answer = (await response.json()) as { status: string; data: unknown; error?: string };
      if (answer.status !== 'success') throw new Error(`${parameters['query'] ?? path}: ${answer.error}`);
      return answer.data;
    },
    [Symbol.asyncDispose]: stop,
  };
}
