/**
 * Runs one of our TypeScript scripts on a machine that has nothing but Node and npm: installs the dependencies where they
 * are missing or not those of the lockfile, then hands over. Plain JavaScript without dependencies, as it runs before them.
 *
 *     node bench/bootstrap.mjs SCRIPT.ts [ARGS …]
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Tailrace needs Node 20.19 or later; this is Node ${process.versions.node}.`);
  process.exit(2);
}

const reason = staleness();
if (reason !== undefined) {
  console.log(`Installing dependencies with npm ci (${reason}) …`);
  await handOver('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { onlyIfFails: true });
}
const [script, ...args] = process.argv.slice(2);
if (script === undefined) {
  console.error('usage: node bench/bootstrap.mjs SCRIPT.ts [ARGS …]');
  process.exit(2);
}
await handOver(process.execPath, ['--import', 'tsx', script, ...args]);

/**
 * Why an installation is needed, undefined when it is not. Compares what both lockfiles list, as times say nothing after a
 * clone or a copy. npm leaves optional packages for other platforms out of the installed one.
 */
function staleness() {
  const wanted = packagesOf('package-lock.json');
  const installed = packagesOf('node_modules/.package-lock.json');
  if (installed === undefined) return 'not installed yet';
  for (const [path, { version, integrity, optional }] of Object.entries(wanted ?? {})) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined ? !optional : there.version !== version || there.integrity !== integrity) {
      return `${path} differs from package-lock.json`;
    }
    if (there !== undefined && !existsSync(`${root}${path}`)) return `${path} is missing`;
  }
  return undefined;
}

function packagesOf(lockfile) {
  try {
    return JSON.parse(readFileSync(root + lockfile, 'utf8')).packages ?? {};
  } catch {
    return undefined;
  }
}

/** Runs it in our place: its output, its signals, its exit code. */
function handOver(command, args, { onlyIfFails = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' });
    // A terminal sends Ctrl-C to the child as well; it decides when both end. A SIGTERM comes to us alone.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    child.on('error', (error) => {
      console.error(`${command} cannot be started: ${error.message}`);
      process.exit(1);
    });
    child.on('exit', (code, signal) => {
      const status = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
      if (status === 0 && onlyIfFails) resolve();
      else process.exit(status);
    });
  });
}
