/**
 * The child that `probe.ts` starts: reads environments to their end, and is allowed to die of it. It names each one on
 * stdout first. Exits 0 when all could be read; otherwise the last line on stderr says why.
 */
import { statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ABORT } from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { UserError } from '../errors.ts';
import {
  DEFINITIONS,
  GAPS,
  INDEX,
  openDatabaseIfThere,
  openEnvironment,
  PAYLOADS,
  RECORDS,
  STATE_RECORDS,
  STATES,
} from './data-folder.ts';
import { decodeCheckpoint, decodeDefinitions, decodeGap, decodeParked } from './record.ts';

const [path = '', mode = 'read', ...names] = process.argv.slice(2);
try {
  for (const name of names) {
    writeSync(1, `${name}\n`);
    await read(openEnvironment(path, name, mode === 'write' ? 'write' : 'read'), name);
  }
} catch (error) {
  writeSync(2, `\n${(error instanceof Error ? error.message : String(error)).replaceAll('\n', ' ')}\n`);
  process.exitCode = 1;
}

async function read(environment: RootDatabase, name: string): Promise<void> {
  if (name === STATES) return readStates(environment);
  readAll(environment, RECORDS, decodeCheckpoint);
  readAll(environment, GAPS, decodeGap);
  readAll(environment, DEFINITIONS, decodeDefinitions);
  readAll(environment, INDEX, decodeParked);
  // Payloads can be a gigabyte: only their keys are walked, and each is read by whoever wants that event again.
  for (const key of openDatabaseIfThere(environment, PAYLOADS)?.getKeys() ?? []) void key;
  if (mode === 'write') takeFreePages(environment);
  await environment.close();
}

/** They can be many gigabytes: each record says how long the file was at least, and LMDB never makes one shorter. */
async function readStates(environment: RootDatabase): Promise<void> {
  const { size } = statSync(join(path, STATES, 'data.mdb'));
  for (const { value } of openDatabaseIfThere(environment, STATE_RECORDS)?.getRange() ?? []) {
    const { fileBytes = 0 } = JSON.parse(Buffer.from(value).toString()) as { readonly fileBytes?: number };
    if (size < fileBytes) throw new Error('its data.mdb is shorter than it was');
  }
  if (mode === 'write') takeFreePages(environment);
  await environment.close();
}

function readAll(environment: RootDatabase, database: string, decode: (bytes: Uint8Array) => unknown): void {
  for (const { value } of openDatabaseIfThere(environment, database)?.getRange() ?? []) {
    try {
      decode(value);
    } catch (error) {
      // A later version's record is sound: the store itself says so, with a message of its own.
      if (!(error instanceof UserError)) throw error;
    }
  }
}

/** A writer reads the list of free pages before it allocates: it does so here first, and takes nothing. */
function takeFreePages(environment: RootDatabase): void {
  environment.transactionSync(() => {
    void environment.put('probe', Buffer.alloc(64 * 1024));
    return ABORT;
  });
}
