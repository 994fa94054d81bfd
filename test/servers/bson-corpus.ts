/**
 * The BSON specification's corpus of examples, as the source distribution of pymongo carries it. It is no part of this
 * project: it is fetched from the Python index when it is first wanted, and kept in our cache.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { cacheFolder } from './mongod-binary.ts';
import { ServersUnavailable } from './unavailable.ts';
import { obtainSource } from './wheel.ts';

const SOURCE = { project: 'pymongo', version: '4.15.0' };
const IN_ARCHIVE = /\/test\/bson_corpus\/([^/]+\.json)$/;

export interface CorpusFile {
  readonly description: string;
  readonly valid?: readonly ValidExample[];
  readonly decodeErrors?: readonly { readonly description: string; readonly bson: string }[];
}

/** BSON is in hexadecimal digits. */
export interface ValidExample {
  readonly description: string;
  readonly canonical_bson: string;
  readonly canonical_extjson: string;
  readonly relaxed_extjson?: string;
  /** Well-formed, but not as the specification would have it written. */
  readonly degenerate_bson?: string;
}

/** By file name. Throws `ServersUnavailable` where they cannot be had. */
export async function bsonCorpus(): Promise<Record<string, CorpusFile>> {
  const path = join(cacheFolder(), `bson-corpus-${SOURCE.project}-${SOURCE.version}.json`);
  try {
    const kept: Record<string, CorpusFile> = JSON.parse(await readFile(path, 'utf8'));
    return kept;
  } catch {
    // Not there yet.
  }
  const files = await fetchFiles();
  await mkdir(cacheFolder(), { recursive: true });
  const partial = `${path}.${process.pid}.partial`;
  await writeFile(partial, JSON.stringify(files));
  await rename(partial, path);
  return files;
}

async function fetchFiles(): Promise<Record<string, CorpusFile>> {
  try {
    const files: Record<string, CorpusFile> = {};
    for (const { name, bytes } of unpack(gunzipSync(await obtainSource(SOURCE)))) {
      const file = IN_ARCHIVE.exec(name)?.[1];
      if (file !== undefined) files[file] = JSON.parse(bytes.toString());
    }
    if (Object.keys(files).length === 0) throw new Error('the archive does not hold it');
    return files;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const { project, version } = SOURCE;
    throw new ServersUnavailable(
      `the BSON specification's corpus cannot be had from ${project} ${version} on the Python index: ${reason}`,
    );
  }
}

const BLOCK = 512;

/** A tar archive: for each file a block that says its name and size, then its bytes, in whole blocks. */
function* unpack(archive: Buffer): Generator<{ name: string; bytes: Buffer }> {
  const text = (at: number, length: number): string => archive.toString('utf8', at, at + length).split('\0', 1)[0]!;
  for (let at = 0; at + BLOCK <= archive.length && archive[at] !== 0;) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    const folder = text(at + 345, 155);
    const name = folder === '' ? text(at, 100) : `${folder}/${text(at, 100)}`;
    yield { name, bytes: archive.subarray(at + BLOCK, at + BLOCK + size) };
    at += BLOCK * (1 + Math.ceil(size / BLOCK));
  }
}
