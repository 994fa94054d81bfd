/**
 * Reads a certificate or key that the configuration names. Whatever is wrong with the file (not there, not ours to read, a folder)
 * only the user can mend, and he is told which setting names it: the system's own words may name not even the file.
 */
import { readFile } from 'node:fs/promises';
import { fileErrorCode } from './config/file-error.ts';
import { UserError } from './errors.ts';

export interface TlsFile {
  /** Whose it is, for messages: `sink "rabbit"`. */
  readonly of: string;
  /** The setting that names it. */
  readonly setting: string;
  readonly path: string;
}

export async function readTlsFile({ of, setting, path }: TlsFile): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const code = fileErrorCode(error);
    const what = code === 'EISDIR' ? `${code}, a folder` : code;
    const message = `${of}: the file of \`${setting}\` cannot be read: ${what} (${path}). Correct the path, or who may read it.`;
    throw new UserError('config-invalid', message, { cause: error });
  }
}
