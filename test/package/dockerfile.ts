/**
 * Does in folders what a Dockerfile of ours says, where there is no Docker: the context as `.dockerignore` leaves it, each stage's COPY and RUN,
 * and what its last stage says of the process. The base images are not there: RUN gets this machine's tools, and what is run in the end
 * gets our Node with its libraries. It knows no more of the language than our file uses, and throws on anything else.
 */
import { execFile } from 'node:child_process';
import { chown, cp, mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

export interface Image {
  /** The last stage's root. */
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
  readonly stopSignal: string;
  readonly volumes: readonly string[];
}

interface Stage {
  readonly root: string;
  workdir: string;
}

/** `folder` is empty and takes the context and a root for each stage. */
export async function buildImage(project: string, folder: string): Promise<Image> {
  const context = join(folder, 'context');
  for (const path of await allowed(project)) await cp(join(project, path), join(context, path), { recursive: true });
  const stages = new Map<string, Stage>();
  let stage: Stage = { root: folder, workdir: '/' };
  const env: Record<string, string> = {};
  const image = {
    env,
    workdir: '/',
    user: '',
    entrypoint: [''],
    command: [''],
    healthcheck: [''],
    stopSignal: '',
    volumes: [''],
  };
  for (const [instruction, rest] of instructions(await readFile(join(project, 'Dockerfile'), 'utf8'))) {
    switch (instruction) {
      case 'FROM': {
        const name = / AS (?<name>\S+)$/.exec(rest)?.groups?.['name'] ?? 'last';
        stage = { root: join(folder, name), workdir: '/' };
        stages.set(name, stage);
        await mkdir(stage.root);
        break;
      }
      case 'WORKDIR':
        stage.workdir = resolve(stage.workdir, rest);
        await mkdir(join(stage.root, stage.workdir), { recursive: true });
        break;
      case 'COPY':
        await copy(rest, stage, stages, context);
        break;
      case 'RUN':
        await exec('sh', ['-c', rest], { cwd: join(stage.root, stage.workdir), timeout: 600_000, maxBuffer: 16 << 20 });
        break;
      case 'ENV':
        for (const [, name = '', value = ''] of rest.matchAll(/(\w+)=(\S+)/g)) env[name] = value;
        break;
      case 'USER':
        image.user = rest;
        break;
      case 'ENTRYPOINT':
        image.entrypoint = JSON.parse(rest) as string[];
        break;
      case 'CMD':
        image.command = JSON.parse(rest) as string[];
        break;
      case 'HEALTHCHECK':
        image.healthcheck = JSON.parse(rest.slice(rest.indexOf('['))) as string[];
        break;
      case 'STOPSIGNAL':
        image.stopSignal = rest;
        break;
      case 'VOLUME':
        image.volumes = rest.split(' ');
        break;
      case 'ARG':
      case 'LABEL':
      case 'EXPOSE':
        break;
      default:
        throw new Error(`the trial of the Dockerfile does not know ${instruction}`);
    }
  }
  return { ...image, root: stage.root, workdir: stage.workdir };
}

/** Of a file that leaves everything out but what follows a `!`. */
async function allowed(project: string): Promise<string[]> {
  const lines = (await readFile(join(project, '.dockerignore'), 'utf8'))
    .split('\n')
    .filter((line) => /^[^#]/.test(line));
  if (lines[0] !== '*') throw new Error('.dockerignore does not begin with *');
  return lines.slice(1).map((line) => {
    if (!line.startsWith('!')) throw new Error(`the trial of .dockerignore does not know ${line}`);
    return line.slice(1);
  });
}

function instructions(text: string): [instruction: string, rest: string][] {
  const whole = text.replaceAll(/^#.*\n/gm, '').replaceAll(/\\\n/g, ' ');
  return whole
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ')).trim()]);
}

async function copy(rest: string, stage: Stage, stages: ReadonlyMap<string, Stage>, context: string): Promise<void> {
  const words = rest.split(' ');
  const options = words.filter((word) => word.startsWith('--'));
  const paths = words.filter((word) => !word.startsWith('--'));
  const target = paths.at(-1)!;
  const from = options.find((option) => option.startsWith('--from='))?.slice('--from='.length);
  const owner = options.find((option) => option.startsWith('--chown='))?.slice('--chown='.length);
  const source = from === undefined ? context : stages.get(from)!.root;
  for (const path of paths.slice(0, -1)) {
    const at = resolve(stage.workdir, target);
    const to = join(stage.root, target.endsWith('/') ? join(at, basename(path)) : at);
    await mkdir(dirname(to), { recursive: true });
    await cp(join(source, path), to, { recursive: true, verbatimSymlinks: true });
    if (owner !== undefined) {
      const [user, group] = owner.split(':').map(Number);
      await chown(to, user!, group!);
    }
  }
}

/** Node and what it is linked with, where the image has it. */
export async function putNode(root: string): Promise<void> {
  const { stdout } = await exec('ldd', [process.execPath]);
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = '']) => path);
  await mkdir(join(root, 'nodejs/bin'), { recursive: true });
  await cp(process.execPath, join(root, 'nodejs/bin/node'));
  for (const path of libraries) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(path, join(root, path), { dereference: true });
  }
  for (const name of ['proc', 'dev', 'tmp', 'etc/tailrace']) await mkdir(join(root, name), { recursive: true });
}

/** A command line that runs `words` as the image would be run with `--read-only`: in its root, as its user, with its volumes. */
export function inside({ root, user, volumes, env }: Image, words: readonly string[]): string[] {
  const at = (path: string): string => quoted(join(root, path));
  const settings = Object.entries(env).map(([name, value]) => quoted(`${name}=${value}`));
  const script = [
    // The volumes lie outside, and outlive the process.
    ...['/', ...volumes].map((path) => `mount --bind ${at(path)} ${at(path)}`),
    `mount --bind /dev ${at('dev')}`,
    `mount --rbind /proc ${at('proc')}`,
    `mount -t tmpfs none ${at('tmp')}`,
    `mount -o remount,bind,ro ${at('/')}`,
    // The root is bound over itself, so it has to be entered anew.
    `cd ${at('/')}`,
    'chroot="$(command -v chroot)"',
    `exec env -i ${settings.join(' ')} "$chroot" --userspec=${user} ${at('/')} ${words.map(quoted).join(' ')}`,
  ].join(' && ');
  return ['unshare', '--mount', 'sh', '-c', script];
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
