/**
 * Reads the stores in a short-lived child process before this one opens them: LMDB maps its file into memory, so a
 * truncated file ends its reader with SIGBUS and a damaged page with SIGSEGV, and no `catch` helps. Whatever happens to
 * the child, this process lives to say what is broken and what to do. Costs one start of Node, while the engine is
 * connecting to its servers anyway; a new folder costs nothing.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.ts';
import { CHECKPOINTS, COPY, environmentExists, isGutted, PARKED } from './data-folder.ts';

const CHILD = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './probe-child.ts' : './probe-child.js', import.meta.url),
);
/** What reading may take before it counts as damaged: a child can be caught in an endless circle of pages. */
const PROBE_MS = 60_000;

export interface ProbeOptions {
  readonly path: string;
  /** `write`: also what only a writer touches, the list of free pages; nothing is changed. Only the lock's owner may ask for it. */
  readonly mode: 'read' | 'write';
}

/** Throws `UserError` `store-damaged`, or `store-unchecked` where the child could not do its work. */
export async function probeStores({ path, mode }: ProbeOptions): Promise<void> {
  const names = [CHECKPOINTS, PARKED].filter((name) => environmentExists(path, name) || isGutted(path, name));
  if (names.length === 0) return;
  const damage = await probe({ path, mode, names });
  if (damage !== undefined) throw damaged(join(path, damage.name), damage);
}

/** What is wrong with one environment; undefined where it is sound. The lock must be held. Throws `UserError` `store-unchecked`. */
export async function environmentDamage(path: string, name: string): Promise<string | undefined> {
  return (await probe({ path, mode: 'write', names: [name] }))?.reason;
}

interface Damage {
  readonly name: string;
  readonly reason: string;
}

function probe({
  path,
  mode,
  names,
}: ProbeOptions & { readonly names: readonly string[] }): Promise<Damage | undefined> {
  const gutted = names.find((name) => isGutted(path, name));
  if (gutted !== undefined) return Promise.resolve({ name: gutted, reason: 'its data.mdb is gone, or empty' });
  return new Promise<Damage | undefined>((resolve, reject) => {
    const args = [...childExecArgv(), CHILD, path, mode, ...names];
    // For want of memory it throws at once; for want of processes the callback is told.
    execFile(process.execPath, args, { timeout: PROBE_MS, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (error === null) {
        resolve(undefined);
        return;
      }
      const said = stderr.trim().split('\n').at(-1);
      const reason = error.signal ? `reading it ended with ${error.signal}` : said || error.message;
      // The child names each environment before it reads it: the last one is what it died of.
      const name = stdout.trim().split('\n').at(-1);
      const ended = !error.killed && FROM_OUTSIDE.has(error.signal ?? '');
      if (!name || ended) reject(unchecked(path, reason, error));
      else resolve({ name, reason });
    });
  }).catch((error: unknown): never => {
    if (error instanceof UserError) throw error;
    throw unchecked(path, error instanceof Error ? error.message : String(error), error);
  });
}

/** Never of a damaged file: the kernel ends who takes the last memory, a terminal all that it started. */
const FROM_OUTSIDE: ReadonlySet<string> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP']);

/** Unbuilt, the child needs the same loader as this process; never its debugger's port or its test runner. */
function childExecArgv(): string[] {
  if (!import.meta.url.endsWith('.ts')) return [];
  return process.execArgv.filter((argument) => !/^--(inspect|test)/.test(argument));
}

function unchecked(path: string, reason: string, cause: unknown): UserError {
  return new UserError(
    'store-unchecked',
    `Whether the stores in ${path} are sound could not be checked: the process that reads them first could not do so (${reason}). ` +
      `That says nothing about the stores, and nothing was changed. Make sure that ${process.execPath} can be started, with memory ` +
      `and processes to spare, and try again.`,
    { cause },
  );
}

function damaged(where: string, { name, reason }: Damage): UserError {
  return new UserError(
    'store-damaged',
    name === PARKED
      ? `The store of parked events in ${where} is damaged (${reason}). Restore the folder from a copy; or move it away, and ` +
          `the parked events in it are given up.`
      : `The checkpoints in ${where} are damaged (${reason}). Run \`tailrace checkpoint restore\`: it rebuilds them from ${COPY}, so that ` +
          `at most something comes again. Or move the folder away, and each subscription begins at its source's \`start\` again: ` +
          `with \`latest\`, what happened since the last checkpoint is skipped.`,
  );
}
