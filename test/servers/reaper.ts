/**
 * Leaves nothing behind, however this process ends. A small shell in a session of its own holds the reading end of a pipe;
 * when we are gone – by an exit, Ctrl-C, SIGTERM or SIGKILL – the pipe ends, and it kills what is still registered and
 * removes its folders. No handler for signals is needed, so nothing can prevent it from running.
 * Invariant: what has been stopped properly is withdrawn at once, or a reused pid would be killed.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

const groups = new Set<number>();
const folders = new Set<string>();
let shell: ChildProcess | undefined;

/** `group` is a process that leads its own process group. */
export function reap(group: number): void {
  groups.add(group);
  tell();
}

export function spare(group: number): void {
  groups.delete(group);
  tell();
}

export function reapFolder(path: string): void {
  folders.add(path);
  tell();
}

export function spareFolder(path: string): void {
  folders.delete(path);
  tell();
}

function tell(): void {
  shell ??= startShell();
  // Without `--`, which dash's `kill` takes for a number.
  const kills = [...groups].map((pid) => `kill -9 -${pid};`);
  const removals = [...folders].map((path) => `rm -rf '${path.replaceAll("'", String.raw`'\''`)}';`);
  // Killed processes may still be writing while the first `rm` walks their folders.
  const script = removals.length > 0 ? [...kills, 'sleep 0.5;', ...removals, 'sleep 1;', ...removals] : kills;
  shell.stdin?.write(`${script.join(' ')}\n`);
}

/** Each line replaces the one before it; the last one is carried out at the end of the input. */
function startShell(): ChildProcess {
  const child = spawn('/bin/sh', ['-c', 'last=; while IFS= read -r line; do last=$line; done; eval "$last"'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  });
  child.unref();
  // A pipe that stays referenced would keep the process from ending by itself.
  if (child.stdin !== null && 'unref' in child.stdin && typeof child.stdin.unref === 'function') child.stdin.unref();
  return child;
}
