/**
 * The newest checkpoints once more, in a small file beside the store: JSON that a person can read, from which `checkpoint restore`
 * rebuilds a damaged store. It is written after the store has been, so it is never ahead of what was confirmed; what it is
 * behind by comes again after a restore.
 * Invariant: the file is whole or not there. It is written under another name, and renamed once it is on disk.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { fileErrorCode } from '../config/file-error.ts';
import { UserError } from '../errors.ts';
import { COPY, OWNER_ONLY_FILE } from './data-folder.ts';
import { checkpointFromText, RECORD_VERSION } from './record.ts';
import type { DefinitionVersion } from './definitions.ts';
import type { CheckpointRecord, GapRecord } from './record.ts';

export interface CheckpointCopy {
  /** ISO 8601. */
  readonly writtenAt: string;
  readonly records: readonly CheckpointRecord[];
  readonly gaps: readonly GapRecord[];
  /** The newest, where there are any. */
  readonly definitions?: DefinitionVersion | undefined;
}

interface Copied {
  /** JSON, one each, as the store has them. */
  readonly records: Iterable<string>;
  readonly gaps: readonly GapRecord[];
  readonly definitions: DefinitionVersion | undefined;
}

export async function writeCopy(path: string, { records, gaps, definitions }: Copied): Promise<void> {
  const rest =
    `"writtenAt":${JSON.stringify(new Date().toISOString())},\n` +
    `"subscriptions":[\n${[...records].join(',\n')}\n],\n` +
    (definitions ? `"definitions":${JSON.stringify(definitions)},\n` : '') +
    `"gaps":[\n${gaps.map((gap) => JSON.stringify(gap)).join(',\n')}\n]}\n`;
  const text = `{"version":${RECORD_VERSION},"checksum":"${checksum(rest)}",\n${rest}`;
  const temporary = join(path, `${COPY}.tmp`);
  const file = await open(temporary, 'w', OWNER_ONLY_FILE);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(path, COPY));
  await syncFolder(path);
}

/** So that what follows is never older than it. */
export async function removeCopy(path: string): Promise<void> {
  await rm(join(path, COPY), { force: true });
  await syncFolder(path);
}

/** Undefined where there is none. Throws `UserError` for one that is not what was written. */
export async function readCopy(path: string): Promise<CheckpointCopy | undefined> {
  let text: string;
  try {
    text = await readFile(join(path, COPY), 'utf8');
  } catch (error) {
    if (fileErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const head = /^\{"version":(?<version>\d+),"checksum":"(?<checksum>[0-9a-f]{8})",\n/.exec(text);
  if (head !== null && Number(head.groups?.['version']) > RECORD_VERSION) {
    throw new UserError('store-newer', `${join(path, COPY)} was written by a later version of Tailrace: use that one.`);
  }
  if (head === null || checksum(text.slice(head[0].length)) !== head.groups?.['checksum']) {
    throw new UserError(
      'store-damaged',
      `The copy of the checkpoints in ${join(path, COPY)} is damaged, or was edited: it does not match its checksum. Restore the ` +
        `folder from a copy of your own; or say where to go on with \`tailrace checkpoint set\` once the damaged parts are moved away.`,
    );
  }
  const { writtenAt, subscriptions, gaps, definitions } = JSON.parse(text) as {
    writtenAt: string;
    subscriptions: object[];
    gaps: GapRecord[];
    definitions?: DefinitionVersion;
  };
  return { writtenAt, gaps, definitions, records: subscriptions.map((one) => checkpointFromText(JSON.stringify(one))) };
}

/** Subscriptions that a store should have, as it is written before its copy, and has not. */
export function missingFrom({ records }: CheckpointCopy, store: ReadonlyMap<string, unknown>): string[] {
  return records.map(({ subscription }) => subscription).filter((name) => !store.has(name));
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}

/** A rename is on disk once its folder is. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
