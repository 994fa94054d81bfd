/**
 * Where Prometheus and its promtool come from: PATH, our cache, or the distribution's package, which is unpacked into the cache and
 * not installed: that takes no root, and starts no service.
 */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { canAptInstall } from './apt.ts';
import { cacheFolder } from './mongod-binary.ts';
import { isExecutable, onPath, run } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';

export interface PrometheusBinaries {
  readonly prometheus: string;
  readonly promtool: string;
}

export async function prometheusBinaries(): Promise<PrometheusBinaries> {
  const [prometheus, promtool] = await Promise.all([onPath('prometheus'), onPath('promtool')]);
  if (prometheus !== undefined && promtool !== undefined) return { prometheus, promtool };
  const folder = join(cacheFolder(), 'prometheus');
  const bin = join(folder, 'usr/bin');
  const cached = { prometheus: join(bin, 'prometheus'), promtool: join(bin, 'promtool') };
  if (await isExecutable(cached.promtool)) return cached;
  try {
    await unpack(folder);
  } catch (error) {
    if (!(await isExecutable(cached.promtool)))
      throw new ServersUnavailable('Prometheus cannot be had: install prometheus, with promtool', { cause: error });
  }
  return cached;
}

async function unpack(folder: string): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true });
  const partial = await mkdtemp(`${folder}-`);
  try {
    const download = async (): Promise<unknown> =>
      promisify(execFile)('apt-get', ['download', 'prometheus'], { cwd: partial, timeout: 300_000 });
    await download().catch(async () => {
      // A bare image knows no packages yet.
      if (await canAptInstall()) await run('apt-get', ['update'], { timeoutMs: 300_000 }).catch(() => '');
      await download();
    });
    const deb = (await readdir(partial)).find((name) => name.endsWith('.deb'));
    if (deb === undefined) throw new Error('apt-get downloaded nothing');
    await run('dpkg-deb', ['-x', join(partial, deb), join(partial, 'root')]);
    await rename(join(partial, 'root'), folder);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}
