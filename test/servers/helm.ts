/** helm, compiled from its sources by the Go at hand, which takes minutes, and kept in the cache. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from './mongod-binary.ts';
import { isExecutable, run } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

const MODULE = 'helm.sh/helm/v3/cmd/helm';
const VERSION = 'v3.16.4';

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function helm(progress: Progress = () => {}): Promise<string> {
  const folder = join(cacheFolder(), 'helm', VERSION);
  const path = join(folder, 'helm');
  if (await isExecutable(path)) return path;
  progress(`compiling helm ${VERSION} into ${folder} (some minutes, once)`);
  const partial = `${folder}.${process.pid}.partial`;
  try {
    await mkdir(partial, { recursive: true });
    await run('go', ['install', `${MODULE}@${VERSION}`], {
      env: { ...process.env, GOBIN: partial },
      timeoutMs: 1_800_000,
    });
    await rename(partial, folder);
    return path;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServersUnavailable(`helm ${VERSION} cannot be had: ${reason}`, { cause: error });
  }
}
