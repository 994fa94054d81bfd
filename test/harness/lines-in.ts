/** The events that a subscription has written into a file as JSON. */
import { readFile } from 'node:fs/promises';

/**
 * None where there is no file yet, and not what a kill has left of one. Line by line: a string holds 512 MiB at most, and a file of large
 * events more.
 */
export async function linesIn(file: string): Promise<string[]> {
  const bytes = await readFile(file).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  });
  const lines: string[] = [];
  for (let from = 0, end = bytes.indexOf(0x0a); end !== -1; from = end + 1, end = bytes.indexOf(0x0a, from)) {
    if (bytes[end - 1] === 0x7d) lines.push(bytes.toString('utf8', from, end));
  }
  return lines;
}
