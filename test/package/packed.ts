/**
 * The package as npm would publish it from a fresh clone, and folders into which a user has installed it. The clone is a copy without
 * `dist`, so that what is packed is what packing itself has built, and nobody's `dist` changes under them.
 */
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NOT_IN_A_CLONE = new Set(['.git', 'node_modules', 'dist', 'bench-results', 'torture-results', 'tailrace-data']);

export interface Packed extends AsyncDisposable {
  readonly tarball: string;
  /** Paths inside it. */
  readonly files: readonly string[];
  readonly bytes: number;
  readonly unpackedBytes: number;
}

export async function pack(): Promise<Packed> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-packed-'));
  const dispose = async (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const clone = join(folder, 'clone');
    await cp(ROOT, clone, { recursive: true, filter: (path) => !NOT_IN_A_CLONE.has(relative(ROOT, path)) });
    await symlink(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
    const { stdout } = await exec('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: clone,
      timeout: 300_000,
      maxBuffer: 16 << 20,
    });
    // What `prepack` prints comes before it.
    const [about] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [
      { filename: string; size: number; unpackedSize: number; files: { path: string }[] },
    ];
    return {
      tarball: join(folder, about.filename),
      files: about.files.map(({ path }) => path),
      bytes: about.size,
      unpackedBytes: about.unpackedSize,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

export interface Installed extends AsyncDisposable {
  readonly folder: string;
  /** For processes in it: `node` is the wanted one. */
  readonly env: NodeJS.ProcessEnv;
}

/** Into an empty folder, by `npm install` as run by the `node` of `nodeFolder`, or by ours. */
export async function install(tarball: string, nodeFolder?: string): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-installed-'));
  // npm hands settings of its own and of its package to what it starts; a user's shell has neither.
  const own = Object.entries(process.env).filter(([name]) => !/^npm_(?:package|lifecycle|command)/.test(name));
  const path = process.env['PATH'] ?? '';
  const env = {
    ...Object.fromEntries(own),
    PATH: nodeFolder === undefined ? path : `${nodeFolder}${delimiter}${path}`,
  };
  const dispose = async (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await cp(tarball, join(folder, basename(tarball)));
    await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
    await exec('npm', ['install', ...options, `./${basename(tarball)}`], { cwd: folder, env, timeout: 300_000 });
    return { folder, env, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
