/**
 * What a process has cost so far, by the kernel's own account. The pids are the servers' own: mongod, and for RabbitMQ the Erlang
 * virtual machine, whose threads are all there is of the broker. A pid of 0 stands for a server that is not ours to look at (one
 * given by its URI): its figures are NaN.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

/** `USER_HZ`, which Linux fixes at 100 for what it tells programs. */
const TICKS_A_SECOND = 100;

/** Of all its threads and of the children it waited for. */
export function cpuSeconds(pid: number): number {
  if (pid === 0) return NaN;
  return ticksOf(`/proc/${pid}/stat`, [14, 15, 16, 17]) / TICKS_A_SECOND;
}

export interface ThreadCost {
  /** The main thread's is the process's pid. */
  readonly thread: number;
  readonly name: string;
  readonly cpuSeconds: number;
}

/** Thread by thread, the busiest first: which of them a run was waiting for. */
export function threadCosts(pid: number): ThreadCost[] {
  if (pid === 0) return [];
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => ({
      thread: Number(task),
      name: readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim(),
      cpuSeconds: ticksOf(`/proc/${pid}/task/${task}/stat`, [14, 15]) / TICKS_A_SECOND,
    }))
    .toSorted((a, b) => b.cpuSeconds - a.cpuSeconds);
}

export function rssBytes(pid: number): number {
  return memory(pid, 'VmRSS');
}

/** The most memory it ever held at once, or since `forgetPeakRss`. */
export function peakRssBytes(pid: number): number {
  return memory(pid, 'VmHWM');
}

/** For a server that outlives a run: its peak counts from here on. Silent where the kernel does not allow it. */
export function forgetPeakRss(pid: number): void {
  try {
    if (pid !== 0) writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // Then the peak is that of its whole life.
  }
}

export interface CostSample {
  /** `performance.now()` of this process. */
  readonly atMs: number;
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}

/** Looks at processes over and over, until it is stopped: how memory and CPU went, not only what they came to. */
export function watchCosts<Name extends string>(
  pids: Readonly<Record<Name, number>>,
  everyMs = 250,
): { readonly samples: Readonly<Record<Name, readonly CostSample[]>>; stop(): void } {
  const samples = Object.fromEntries(Object.keys(pids).map((name) => [name, []])) as unknown as Record<
    Name,
    CostSample[]
  >;
  const look = (): void => {
    for (const name of Object.keys(pids) as Name[]) {
      const pid = pids[name];
      try {
        samples[name].push({ atMs: performance.now(), cpuSeconds: cpuSeconds(pid), rssBytes: rssBytes(pid) });
      } catch {
        // It has ended; whoever waits for it says so.
      }
    }
  };
  look();
  const timer = setInterval(look, everyMs);
  return { samples, stop: () => clearInterval(timer) };
}

/** Resolves once the process has been (nearly) idle for half a second: what a run left behind is not the next one's cost. */
export async function untilIdle(pid: number): Promise<void> {
  if (pid === 0) return;
  const deadline = performance.now() + 20_000;
  for (let before = cpuSeconds(pid); performance.now() < deadline;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = cpuSeconds(pid);
    if (now - before < 0.05) return;
    before = now;
  }
}

function ticksOf(path: string, fields: readonly number[]): number {
  const stat = readFileSync(path, 'utf8');
  // The name, in parentheses, may hold anything; what follows it are fields 3 and later.
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field - 3]), 0);
}

function memory(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  if (pid === 0) return NaN;
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1_024;
}
