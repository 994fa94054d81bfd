/**
 * What `run` needs on this machine: the data folder and what is in it, the port, files to write to. An engine that runs on this very
 * configuration has them already, which is nothing to mend.
 */
import { access, constants, open, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { locked, ownerOf } from '../checkpoint/folder-lock.ts';
import { readCheckpoints } from '../checkpoint/read-only.ts';
import type { CheckpointView } from '../checkpoint/read-only.ts';
import { readCopy } from '../checkpoint/copy.ts';
import { refuseEmptied, refuseLostStore } from '../checkpoint/store.ts';
import { lookUsable } from '../checkpoint/usable-folder.ts';
import type { CheckpointRecord } from '../checkpoint/record.ts';
import type { Config } from '../config/config.ts';
import { fileErrorCode } from '../config/file-error.ts';
import { UserError } from '../errors.ts';
import { tryListen } from '../observe/http.ts';
import type { Findings } from '../check/findings.ts';

export interface FolderLook {
  /** By subscription; undefined where the store cannot be read. */
  readonly stored: ReadonlyMap<string, CheckpointRecord> | undefined;
  /** An engine runs on this very file. */
  readonly runs: boolean;
}

/** `file`: the configuration. */
export async function checkFolder(file: string, config: Config, findings: Findings): Promise<FolderLook> {
  const { path } = config.checkpoint;
  findings.title(`data folder ${path}`);
  let runs = false;
  try {
    if (!(await lookUsable(path))) {
      findings.ok('not there yet, will be made');
      return { stored: new Map(), runs };
    }
    const owner = await ownerOf(path);
    runs = owner !== undefined && owner.config === resolve(file);
    if (owner && !runs) findings.fault(locked(path, owner.pid).message);
    if (owner && runs) findings.info(`an engine runs on this very file, with process id ${owner.pid}`);
    const { records } = await readSound(path);
    findings.ok(
      `${records.length === 1 ? 'one checkpoint' : `${records.length} checkpoints`}, and the stores can be read`,
    );
    return { stored: new Map(records.map((record) => [record.subscription, record])), runs };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    findings.fault(error.message);
    return { stored: undefined, runs };
  }
}

/** Throws `UserError` as opening the stores would. */
async function readSound(path: string): Promise<CheckpointView> {
  await refuseLostStore(path);
  const view = await readCheckpoints(path);
  // One that cannot be read is written anew at a start.
  const copy = await readCopy(path).catch(() => undefined);
  if (copy) refuseEmptied(path, new Map(view.records.map((record) => [record.subscription, record])), copy);
  return view;
}

export async function checkPort({ http }: Config, { runs }: FolderLook, findings: Findings): Promise<void> {
  if (!http) return;
  findings.title(`http ${http.host}:${http.port}`);
  try {
    await tryListen(http);
    findings.ok('it is free');
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (runs && error.code === 'port-in-use') findings.info('in use, as it is by the engine that runs');
    else findings.fault(error.message);
  }
}

export async function checkFiles({ subscriptions }: Config, findings: Findings): Promise<void> {
  for (const { name, to } of subscriptions) {
    if (to.kind !== 'file') continue;
    findings.title(`subscription ${name}: file ${to.path}`);
    try {
      findings.ok((await isWritable(to.path)) ? 'there, and can be written to' : 'not there yet, will be made');
    } catch (error) {
      findings.fault(
        `it cannot be written to (${error instanceof Error ? error.message : String(error)}): its lanes would be held`,
      );
    }
  }
}

/** Whether it is there. */
async function isWritable(path: string): Promise<boolean> {
  try {
    await using file = await open(path, 'r+');
    void file;
    return true;
  } catch (error) {
    if (fileErrorCode(error) !== 'ENOENT') throw error;
    const folder = dirname(path);
    if (!(await stat(folder)).isDirectory()) throw error;
    await access(folder, constants.W_OK | constants.X_OK);
    return false;
  }
}
