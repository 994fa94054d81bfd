/**
 * One engine per data folder. The lock is a Unix socket in the folder that its owner listens on: the kernel closes it
 * with the process, however that dies, so a restart right after a `kill -9` finds nobody at home and goes on at once; and
 * it holds between containers that share the folder, where a process id means nothing.
 *
 * How two that start together cannot both win: each first listens on a socket of its own, then asks every other one.
 * An owner sends the newcomer away; of two candidates the one with the smaller name waits until the other has given up
 * or won. Nobody who is not listening can win, and only a winner removes a socket that nobody listens on: so whoever was
 * about to listen there will find the winner.
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.ts';
import { makeFolder, OWNER_ONLY_FILE } from './data-folder.ts';

const SOCKET_NAME = /^engine-(\d+)-[0-9a-f]+\.sock$/;
/** `sun_path` holds 104 bytes on macOS, 108 on Linux, the final zero included. */
const MAX_SOCKET_PATH = 100;
/** A living owner whose main thread is busy accepts (the kernel does that) but does not answer: it counts as an owner. */
const ANSWER_MS = 500;
const RETRY_MS = 20;

type Answer = { readonly kind: 'dead' | 'unclear' } | (FolderOwner & { readonly kind: 'candidate' | 'owner' });

/** Who has a data folder. */
export interface FolderOwner {
  /** In its own container, perhaps. */
  readonly pid: string;
  /** The configuration file that it runs on; empty where it does not say. */
  readonly config: string;
}

/** Nothing is made or changed. Undefined where nobody has it. */
export async function ownerOf(path: string): Promise<FolderOwner | undefined> {
  const folder = resolve(path);
  const names = (await readdir(folder)).filter((name) => SOCKET_NAME.test(name));
  if (names.length === 0) return undefined;
  await using short = await shortPath(folder);
  for (const name of names) {
    const answer = await decided(join(short.path, name), true);
    if (answer.kind === 'owner') return { pid: pidOf(answer, name), config: answer.config };
  }
  return undefined;
}

/**
 * Throws `UserError` `folder-locked` when another process has it. Disposing gives it back. `config`: the file that this one runs
 * on, for whoever asks.
 */
export async function lockFolder(path: string, config = ''): Promise<AsyncDisposable> {
  const folder = resolve(path);
  await makeFolder(folder);
  await using short = await shortPath(folder);
  // The random part is for containers, where every engine may be process 1.
  const name = `engine-${process.pid}-${randomUUID().slice(0, 8)}.sock`;
  let role: 'candidate' | 'owner' = 'candidate';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${role} ${process.pid} ${config}`, () => socket.destroy());
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(join(short.path, name), listening);
  });
  const release = async (): Promise<void> => {
    await new Promise((closed) => server.close(closed));
    await rm(join(folder, name), { force: true });
  };

  try {
    await chmod(join(folder, name), OWNER_ONLY_FILE);
    const dead: string[] = [];
    for (const other of (await readdir(folder)).filter((other) => SOCKET_NAME.test(other) && other !== name)) {
      const answer = await decided(join(short.path, other), name < other);
      if (answer.kind === 'owner' || answer.kind === 'candidate') {
        throw locked(folder, pidOf(answer, other));
      }
      dead.push(other);
    }
    role = 'owner';
    for (const other of dead) await rm(join(folder, other), { force: true });
  } catch (error) {
    await release();
    throw error;
  }
  return { [Symbol.asyncDispose]: release };
}

/** With `wait`, a candidate is asked again until it has become an owner or gone away. */
async function decided(socketPath: string, wait: boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask(socketPath);
    if (answer.kind !== 'unclear' && !(wait && answer.kind === 'candidate')) return answer;
    await sleep(RETRY_MS);
  }
}

function ask(socketPath: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let text = '';
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done({ kind: 'owner', pid: '', config: '' }), ANSWER_MS);
    socket.on('data', (chunk) => (text += chunk.toString()));
    // Cut off without an answer: it is just closing, or dying, and the next question finds nobody.
    socket.on('end', () => {
      const [kind, pid = '', ...config] = text.split(' ');
      done(kind === 'owner' || kind === 'candidate' ? { kind, pid, config: config.join(' ') } : { kind: 'unclear' });
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') done({ kind: 'dead' });
      else if (error.code === 'ECONNRESET' || error.code === 'EPIPE') done({ kind: 'unclear' });
      else {
        clearTimeout(timer);
        reject(error);
      }
    });
  });
}

/** A name for the folder that leaves room for the socket's: the folder itself, or a link to it for the time it is needed. */
async function shortPath(folder: string): Promise<AsyncDisposable & { readonly path: string }> {
  // Other engines' names may be a few digits longer than this one's.
  if (Buffer.byteLength(folder) + '/engine-4194304-01234567.sock'.length <= MAX_SOCKET_PATH) {
    return { path: folder, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const link = await mkdtemp(join(tmpdir(), 'tailrace-'));
  await symlink(folder, join(link, 'd'));
  return { path: join(link, 'd'), [Symbol.asyncDispose]: () => rm(link, { recursive: true, force: true }) };
}

/** One that gives no answer has it in its socket's name. */
function pidOf({ pid }: FolderOwner, socketName: string): string {
  return pid === '' ? (SOCKET_NAME.exec(socketName)?.[1] ?? '?') : pid;
}

export function locked(folder: string, pid: string): UserError {
  return new UserError(
    'folder-locked',
    `The data folder ${folder} is in use by the engine with process id ${pid}: two of them would deliver everything twice ` +
      `and undo each other's checkpoints. Stop that one first, or give this one a \`checkpoint.path\` of its own.`,
  );
}
