/**
 * The newest positions, kept for the death of this process: each write goes to the operating system and never waits for the
 * disk, so a position can be written every few milliseconds whatever the disk does. It does not survive the system's death, so the
 * folder's name says in which life of the system it was written, and in another life it is thrown away unread.
 *
 * Two files take turns, each with all records: a kill in the middle of a write damages one of them, and what was written before
 * is in the other.
 *
 * (Not LMDB, as the other stores: a commit takes several turns of the event loop, each of which may last 100 ms while an engine starts
 * under load, so positions were up to 600 ms old at a kill. And its writes cannot fail safely: see `refuseFullDisk`.)
 */
import { existsSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { OWNER_ONLY_FILE, OWNER_ONLY_FOLDER, recentName } from './data-folder.ts';
import { decodeRecent, encodeRecent } from './record.ts';
import type { CheckpointRecord, RecentRecords } from './record.ts';

const FILES = ['a', 'b'] as const;

/** `damage`: there is something, and none of it is what was once written. */
export interface RecentView {
  readonly records: readonly CheckpointRecord[];
  readonly damage?: string;
}

export class RecentPositions {
  readonly #files: readonly FileHandle[];
  /** Of the last write; its parity is its file. */
  #number: number;

  /** Made where it is not there. The folder's lock must be held. */
  static async open(path: string): Promise<{ readonly recent: RecentPositions; readonly found: RecentView }> {
    const folder = join(path, recentName());
    await mkdir(folder, { recursive: true, mode: OWNER_ONLY_FOLDER });
    const { number, ...found } = await newest(folder);
    const files: FileHandle[] = [];
    for (const name of FILES) files.push(await openFile(join(folder, name)));
    return { recent: new RecentPositions(files, number), found };
  }

  private constructor(files: readonly FileHandle[], number: number) {
    this.#files = files;
    this.#number = number;
  }

  /** In place of all that was written before. One at a time. Where it rejects, what the last one wrote still counts. */
  async write(records: readonly CheckpointRecord[]): Promise<void> {
    const number = this.#number + 1;
    const bytes = encodeRecent({ number, records });
    const file = this.#files[number % FILES.length]!;
    // Where not all could be written, the system says why only to who tries the rest.
    for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, at)).bytesWritten;
    this.#number = number;
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}

/** Also beside a running engine. */
export async function readRecent(path: string): Promise<RecentView> {
  const { number: _, ...found } = await newest(join(path, recentName()));
  return found;
}

/** Throws `UserError` `store-newer`. */
async function newest(folder: string): Promise<RecentView & RecentRecords> {
  let best: RecentRecords | undefined;
  let damage: string | undefined;
  for (const name of FILES) {
    const path = join(folder, name);
    if (!existsSync(path)) continue;
    const bytes = await readFile(path);
    if (bytes.length === 0) continue;
    const found = decodeRecent(bytes);
    if (found === undefined) damage = `${path} does not match its checksum`;
    else if (best === undefined || found.number > best.number) best = found;
  }
  return best ?? { number: 0, records: [], ...(damage !== undefined && { damage }) };
}

/** Not truncated: what it holds may be all there is. */
async function openFile(path: string): Promise<FileHandle> {
  await (await open(path, 'a', OWNER_ONLY_FILE)).close();
  return await open(path, 'r+');
}
