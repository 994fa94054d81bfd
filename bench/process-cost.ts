/** What a process has cost so far, by the kernel's own account: CPU of all its threads and of the children it waited for. */
import { readFileSync } from 'node:fs';

/** `USER_HZ`, which Linux fixes at 100 for what it tells programs. */
const TICKS_A_SECOND = 100;

/** NaN for a process that is not ours to look at (a server given by its URI). */
export function cpuSeconds(pid: number): number {
  if (pid === 0) return NaN;
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may hold anything; what follows it are fields 3 and later.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = [14, 15, 16, 17].map((field) => Number(fields[field - 3]));
  return ticks.reduce((sum, one) => sum + one, 0) / TICKS_A_SECOND;
}

/** The most memory it ever held at once. */
export function peakRssBytes(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1_024;
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
