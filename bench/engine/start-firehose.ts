/** The firehose as a process of its own. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { reap, spare } from '../../test/servers/reaper.ts';

export interface Firehose {
  readonly child: ChildProcess;
  readonly port: number;
  readonly averageEntryBytes: number;
}

export async function startFirehose(): Promise<Firehose> {
  const child = fork(fileURLToPath(new URL('firehose.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    detached: true,
  });
  reap(child.pid!);
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, ...(JSON.parse(line.toString()) as { port: number; averageEntryBytes: number }) };
}

/** It, or an engine that was forked to read it. */
export async function endChild(child: ChildProcess): Promise<void> {
  const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
  child.kill('SIGTERM');
  await gone;
  spare(child.pid!);
}
