/** The data folder of a stopped engine, for commands that change it: locked while they do, so that none can start meanwhile. */
import { lockFolder } from '../checkpoint/folder-lock.ts';
import { UserError } from '../errors.ts';

export async function lockStopped(path: string, command: string): Promise<AsyncDisposable> {
  try {
    return await lockFolder(path);
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'folder-locked') throw error;
    throw new UserError(
      'folder-locked',
      `\`tailrace ${command}\` works on a stopped engine: the data folder ${path} is in use. Stop the engine (SIGTERM), run the ` +
        `command, and start it again.`,
      { cause: error },
    );
  }
}
