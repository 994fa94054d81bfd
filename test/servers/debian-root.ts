/**
 * Programs of a newer Debian than this machine's: a folder that holds a small system of its own, made by debootstrap, kept in
 * the cache, and seen as the whole disk by the programs that run in it. Needs root on a Debian or Ubuntu.
 */
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { aptInstall, canAptInstall } from './apt.ts';
import { cacheFolder } from './mongod-binary.ts';
import { isExecutable, onPath, run } from './run.ts';
import type { Progress } from './unavailable.ts';

export interface DebianRoot {
  readonly suite: string;
  readonly packages: readonly string[];
  /** What runs in it is reached by scripts of these names: their paths inside. */
  readonly programs: Readonly<Record<string, string>>;
}

/** A folder of scripts that stand for the programs. Throws with the reason where it cannot be had. */
export async function debianRoot(wanted: DebianRoot, progress: Progress = () => {}): Promise<string> {
  const { suite, packages, programs } = wanted;
  if (!(await canAptInstall()))
    throw new Error('it takes root on a Debian or Ubuntu to make a Debian system in a folder');
  const folder = join(cacheFolder(), 'debian', [suite, ...packages].join('-'));
  const scripts = join(folder, 'scripts');
  if (await isExecutable(join(scripts, Object.keys(programs)[0]!))) return scripts;

  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  if ((await onPath('debootstrap')) === undefined) {
    progress('installing debootstrap with apt-get');
    await aptInstall('debootstrap');
  }
  const root = join(folder, 'root');
  progress(`making a Debian ${suite} with ${packages.join(', ')} in ${root} (a minute or so, once)`);
  const args = ['--variant=minbase', `--include=${packages.join()}`, suite, root, await mirror()];
  await run('debootstrap', args, { timeoutMs: 900_000 });
  // Last, and in one step: where they stand, all else does.
  const partial = `${scripts}.${process.pid}.partial`;
  await mkdir(partial);
  for (const [name, path] of Object.entries(programs)) {
    await writeFile(join(partial, name), script(root, path), { mode: 0o755 });
  }
  await rename(partial, scripts);
  return scripts;
}

/**
 * What is mounted is seen by this process alone and gone with it, however it ends. The program takes this process's place, so its pid is
 * ours. Of outside it sees the folders that SEEN names, separated by colons, at the same paths; its HOME where SEEN is not set.
 */
function script(root: string, path: string): string {
  return `#!/bin/sh
root='${root}'
if [ -z "$INSIDE" ]; then INSIDE=1 exec unshare --mount "$0" "$@"; fi
unset INSIDE
mount -t tmpfs none "$root/tmp" || exit 1
IFS=:
for folder in \${SEEN:-$HOME}; do
  mkdir -p "$root$folder" && mount --bind "$folder" "$root$folder" || exit 1
done
unset IFS
mount --bind /dev "$root/dev" && mount -t proc none "$root/proc" || exit 1
cp /etc/hosts "$root/etc/hosts"
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" '${path}' "$@"
`;
}

/** The one this machine itself installs from. */
async function mirror(): Promise<string> {
  const folder = '/etc/apt/sources.list.d';
  const files = [...(await readdir(folder).catch(() => [])).map((name) => join(folder, name)), '/etc/apt/sources.list'];
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => '');
    const found = /^(?:URIs:|deb)\s+(?:\[[^\]]*\]\s+)?(https?:\/\/\S*\/debian)\/?(?:\s|$)/m.exec(text)?.[1];
    if (found !== undefined) return found;
  }
  return 'http://deb.debian.org/debian';
}
