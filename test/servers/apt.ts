/** Installs a package of Debian or Ubuntu as root, without starting the service that it may bring. One at a time. */
import { access, chmod, rm, writeFile } from 'node:fs/promises';
import { onPath, run } from './run.ts';

const POLICY = '/usr/sbin/policy-rc.d';
let last: Promise<unknown> = Promise.resolve();

export async function canAptInstall(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  return (await onPath('apt-get')) !== undefined;
}

export async function aptInstall(name: string): Promise<void> {
  const mine = last.then(async () => install(name));
  last = mine.catch(() => {});
  await mine;
}

async function install(name: string): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const wait = ['-o', 'DPkg::Lock::Timeout=300'];
  // A package of a server starts it for the whole machine; with this file there, whose exit code forbids it, it does not.
  const own = await access(POLICY).then(
    () => false,
    () => true,
  );
  try {
    if (own) {
      await writeFile(POLICY, '#!/bin/sh\nexit 101\n');
      await chmod(POLICY, 0o755);
    }
    // A mirror that fails here may be one that the installation does not need.
    await run('apt-get', [...wait, 'update'], { env, timeoutMs: 300_000 }).catch(() => '');
    await run('apt-get', [...wait, 'install', '-y', '--no-install-recommends', name], { env, timeoutMs: 900_000 });
  } finally {
    if (own) await rm(POLICY, { force: true });
  }
}
