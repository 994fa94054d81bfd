/** Python with a package from the configured index, kept in the cache, for what is written in Python. */
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from './mongod-binary.ts';
import { run } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';

export interface PythonWith {
  readonly command: string;
  readonly env: NodeJS.ProcessEnv;
}

const COMMAND = 'python3';

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function pythonWith(project: string, version: string): Promise<PythonWith> {
  const folder = join(cacheFolder(), 'python', `${project}-${version}`);
  try {
    await run(COMMAND, ['--version']);
    if (!(await exists(folder))) await install(`${project}==${version}`, folder);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServersUnavailable(`Python's ${project} cannot be had: ${reason}`, { cause: error });
  }
  return { command: COMMAND, env: { PYTHONPATH: folder } };
}

/** The folder gets its name last: where it stands, all is in it. */
async function install(what: string, folder: string): Promise<void> {
  const partial = `${folder}.${process.pid}.partial`;
  await mkdir(join(folder, '..'), { recursive: true });
  await run(COMMAND, ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', partial, what], {
    timeoutMs: 120_000,
  });
  await rename(partial, folder).catch(async (error: unknown) => {
    await rm(partial, { recursive: true, force: true });
    // Another process has been faster.
    if (!(await exists(folder))) throw error;
  });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
