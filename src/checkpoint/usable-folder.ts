/** Whether the data folder is a place to write to: made where it is missing, for a run; only looked at, for whoever asks before one. */
import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileErrorCode } from '../config/file-error.ts';
import { UserError } from '../errors.ts';
import { makeFolder } from './data-folder.ts';

/** As `makeFolder`. Throws `UserError` `folder-unusable`. */
export async function makeUsable(path: string): Promise<string | undefined> {
  try {
    const outermost = await makeFolder(path);
    await access(path, constants.W_OK);
    return outermost;
  } catch (error) {
    throw unusable(error);
  }
}

/** Whether it is there; makes nothing. Throws `UserError` where it is there and cannot be used, or could not be made. */
export async function lookUsable(path: string): Promise<boolean> {
  try {
    const nearest = await nearestThere(path);
    if (!(await stat(nearest)).isDirectory()) throw new Error(`${nearest} is no folder`);
    await access(nearest, constants.W_OK | constants.X_OK);
    return nearest === path;
  } catch (error) {
    throw unusable(error);
  }
}

async function nearestThere(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    try {
      await stat(folder);
      return folder;
    } catch (error) {
      if (fileErrorCode(error) !== 'ENOENT' || folder === dirname(folder)) throw error;
    }
  }
}

function unusable(error: unknown): UserError {
  const reason = error instanceof Error ? error.message : String(error);
  return new UserError(
    'folder-unusable',
    `the data folder cannot be used (${reason}). Give \`checkpoint.path\` a folder that this user may create and write to.`,
    { cause: error },
  );
}
