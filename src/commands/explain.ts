/** `tailrace explain CODE`: the page of a code, from the package itself, so that it is at hand where there is no browser. */
import { readFile } from 'node:fs/promises';
import { CODES } from '../codes.ts';
import { nearest } from '../config/nearest.ts';
import { UserError } from '../errors.ts';
import { toStdout } from './output.ts';

const PAGES = new URL('../../docs/errors/', import.meta.url);

export async function explain(code: string, write = toStdout): Promise<number> {
  // Only what is in the list becomes a path.
  const known = CODES.find((one) => one === code);
  if (known === undefined) {
    const close = nearest(code, CODES);
    throw new UserError(
      'usage',
      `there is no code "${code}"${close === undefined ? '.' : `; did you mean "${close}"?`} There are: ${CODES.toSorted().join(', ')}`,
    );
  }
  write(await readFile(new URL(`${known}.md`, PAGES), 'utf8'));
  return 0;
}
