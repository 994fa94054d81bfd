/** The engine that has a data folder, asked over its API. */
import { stat } from 'node:fs/promises';
import { ownerOf } from '../checkpoint/folder-lock.ts';
import type { FolderOwner } from '../checkpoint/folder-lock.ts';
import type { Config } from '../config/config.ts';
import { EngineAnswerError, UserError } from '../errors.ts';
import { askEngine } from './ask-engine.ts';
import { addressIn } from './engine-address.ts';

/** `POST`s; its JSON. */
export type AskOwner = (path: string, body: object) => Promise<unknown>;

/**
 * Throws `UserError` `folder-locked` where it runs on another file, which may say another address, or where nobody answers: a command
 * may have the folder.
 */
export async function askerOf(config: Pick<Config, 'checkpoint' | 'http'>, file: string): Promise<AskOwner> {
  const { path } = config.checkpoint;
  const owner = await ownerOf(path);
  if (owner && (await isOtherFile(owner.config, file))) {
    throw inUse(path, owner, `which runs on ${owner.config}: name that file (\`-c\`)`);
  }
  const address = addressIn(config, file);
  return async (at, body) => {
    try {
      return await askEngine(address, at, { method: 'POST', body });
    } catch (error) {
      if (!(error instanceof EngineAnswerError) || error.code !== 'api-unreachable') throw error;
      throw inUse(path, await ownerOf(path), `and there is ${error.message}: try again, or stop it first`);
    }
  };
}

function inUse(path: string, owner: FolderOwner | undefined, what: string): UserError {
  const whose = owner ? `the process with id ${owner.pid}` : 'a process that has just ended';
  return new UserError('folder-locked', `The data folder ${path} is in use by ${whose}, ${what}.`);
}

/** Where one of them is not to be seen from here, in a container perhaps, nothing is known. */
async function isOtherFile(one: string, other: string): Promise<boolean> {
  if (one === '') return false;
  try {
    const [a, b] = await Promise.all([stat(one), stat(other)]);
    return a.dev !== b.dev || a.ino !== b.ino;
  } catch {
    return false;
  }
}
