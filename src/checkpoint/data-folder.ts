/**
 * What lies where in the data folder, and how its LMDB environments are opened.
 *
 * - `checkpoints` waits for the disk with every commit: what a power cut must not take.
 * - `recent-<boot>` never waits: see `recent.ts`, no environment of LMDB's.
 * - `states` waits like `checkpoints`: the last states of documents, for `images: local`. Nothing is lost with it but them.
 * - `parked` waits like `checkpoints`, but may be large: its own environment, so that it can be neither slow nor damage them.
 *
 * What is made here only its owner may read, whatever the umask: parked events are users' data. A folder that was there
 * before keeps its mode, and what is made inside it is closed all the same.
 *
 * (lmdb's `overlappingSync` promises both in one environment, but 3.5.6 resolves a put only after the `fdatasync`, and
 * runs one for each commit: with a disk that takes 100 ms, positions were 200 ms old at a kill.)
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, open as openFile, readdir, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { open } from 'lmdb';
import type { Database, Key, RootDatabase } from 'lmdb';

export const CHECKPOINTS = 'checkpoints';
export const PARKED = 'parked';
export const STATES = 'states';
/** The newest checkpoints once more: see `copy.ts`. */
export const COPY = 'checkpoints.json';
const RECENT_PREFIX = 'recent-';
const STORES: ReadonlySet<string> = new Set([CHECKPOINTS, PARKED, STATES, COPY]);

/** The databases inside `checkpoints`. */
export const RECORDS = 'records';
export const GAPS = 'gaps';
export const DEFINITIONS = 'definitions';
/** The databases inside `states`: how far each subscription's are, and one for the documents of each. */
export const STATE_RECORDS = 'records';
export const DOCUMENTS_PREFIX = 'documents:';
/** The databases inside `parked`: what is known of an event, and its bytes, under the same key. */
export const INDEX = 'index';
export const PAYLOADS = 'payloads';

export type BinaryDatabase = Database<Uint8Array>;

export const OWNER_ONLY_FOLDER = 0o700;
export const OWNER_ONLY_FILE = 0o600;

/** The outermost folder that had to be made; undefined where all were there. */
export async function makeFolder(path: string): Promise<string | undefined> {
  const outermost = await mkdir(dirname(path), { recursive: true });
  try {
    await mkdir(path, { mode: OWNER_ONLY_FOLDER });
    return outermost ?? path;
  } catch (error) {
    if (!(await stat(path).then((found) => found.isDirectory()))) throw error;
    return outermost;
  }
}

/** The stores go; what else may lie there stays. */
export async function removeStores(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    const isStore = STORES.has(name) || name.startsWith(RECENT_PREFIX);
    if (isStore) await rm(join(path, name), { recursive: true, force: true });
  }
}

/** Undoes `makeFolder`, as far as the folders are empty. */
export async function unmakeFolder(path: string, outermost: string): Promise<void> {
  try {
    for (let folder = path; ; folder = dirname(folder)) {
      await rmdir(folder);
      if (folder === outermost) return;
    }
  } catch {
    // Somebody has a use for it.
  }
}

export function recentName(): string {
  return RECENT_PREFIX + bootId();
}

/** Left by earlier lives of the system. */
export async function outdatedNames(path: string): Promise<string[]> {
  const current = recentName();
  const names = await readdir(path);
  // What was moved aside is kept.
  return names.filter(
    (name) => name.startsWith(RECENT_PREFIX) && !name.startsWith(current) && !name.includes('.damaged-'),
  );
}

export function environmentExists(path: string, name: string): boolean {
  return existsSync(join(path, name, 'data.mdb'));
}

/** Something was written to it once, and its file is gone or empty: LMDB would take it for a new one. */
export function isGutted(path: string, name: string): boolean {
  const folder = join(path, name);
  if (!existsSync(join(folder, TRIAL))) return false;
  return (statSync(join(folder, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0) === 0;
}

/** Subscriptions that keep states, and one. */
const MOST_STATES = 256;

/** Of the environments that are open. */
const folders = new WeakMap<RootDatabase, string>();

export function openEnvironment(path: string, name: string, mode: 'read' | 'write'): RootDatabase {
  const folder = join(path, name);
  if (mode === 'write') mkdirSync(folder, { recursive: true, mode: OWNER_ONLY_FOLDER });
  const options = {
    path: folder,
    // Of the files that it makes; lmdb's types do not know it.
    permissionsMode: OWNER_ONLY_FILE,
    overlappingSync: false,
    // With it lmdb (3.5.6) makes a promise of its own for each turn; when a commit fails, nobody handles its rejection,
    // and a full disk would end the process. What belongs together is said with `inOneTransaction`.
    eventTurnBatching: false,
    readOnly: mode === 'read',
    maxDbs: name === STATES ? MOST_STATES : 4,
  };
  const environment = open(options);
  folders.set(environment, folder);
  return environment;
}

/** Made where it is not there. */
export function openDatabase(environment: RootDatabase, name: string): BinaryDatabase {
  return environment.openDB<Uint8Array, Key>({ name, encoding: 'binary' });
}

/** Of documents by bytes; likewise. */
export function openDocuments(environment: RootDatabase, name: string): Database<Buffer, Buffer> {
  return environment.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary', compression: true });
}

/** lmdb's types know neither `create` nor that nothing is returned then. */
export function openDatabaseIfThere(environment: RootDatabase, name: string): BinaryDatabase | undefined {
  const options = { name, encoding: 'binary', create: false } as const;
  return environment.openDB<Uint8Array, Key>(options);
}

/**
 * Everything that `write` puts and removes becomes visible together, or not at all. Rejects where the disk has no room for some
 * pages and `bytes` more, or less left than `atWorst`, which is only asked for.
 */
export async function inOneTransaction(
  environment: RootDatabase,
  write: () => void,
  { bytes = 0, atWorst = 0 }: { readonly bytes?: number; readonly atWorst?: number } = {},
): Promise<void> {
  await refuseFullDisk(folders.get(environment)!, bytes, atWorst);
  try {
    await environment.batch(write);
  } catch (error) {
    // The reason is in a promise of its own, which must not be left unhandled either.
    if (error instanceof Error && 'commitError' in error) await error.commitError;
    throw error;
  }
}

/** What a transaction of positions writes is a fraction of it. */
const PAGES = Buffer.alloc(256 * 1024);
const TRIAL = 'room';

/**
 * A write that fails inside LMDB can end the process: lmdb (3.5.6) describes it in a buffer of 100 bytes, which is too short for
 * what it says, and the heap is damaged. So a file beside it is written first, as far out as the store would grow to, and given back.
 */
async function refuseFullDisk(folder: string, bytes: number, atWorst: number): Promise<void> {
  if (atWorst > 0) {
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < atWorst) throw new Error(`no space left on the disk of ${folder}`);
  }
  const { size } = await stat(join(folder, 'data.mdb'));
  const trial = await openFile(join(folder, TRIAL), 'w', OWNER_ONLY_FILE);
  try {
    const end = size + PAGES.length + 2 * bytes;
    for (let at = size; at < end;) {
      // Zeros, and always the same ones: what is to be stored may be as large as a transaction.
      const { bytesWritten } = await trial.write(PAGES, 0, Math.min(PAGES.length, end - at), at);
      if (bytesWritten === 0) throw new Error(`no space left on the disk of ${folder}`);
      at += bytesWritten;
    }
  } finally {
    await trial.truncate(0);
    await trial.close();
  }
}

let cachedBootId: string | undefined;

function bootId(): string {
  cachedBootId ??= readBootId();
  return cachedBootId;
}

function readBootId(): string {
  try {
    const id =
      process.platform === 'linux'
        ? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')
        : execFileSync('sysctl', ['-n', 'kern.bootsessionuuid'], { encoding: 'utf8' });
    return id.trim().toLowerCase();
  } catch {
    // Unknown: then no process trusts what another left, and a kill repeats what came after the last flush.
    return randomUUID();
  }
}
