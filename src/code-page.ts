/** The pages of docs/errors, from the package itself: they are at hand where there is no browser and no network. */
import { readFile } from 'node:fs/promises';
import type { Code } from './codes.ts';

const PAGES = new URL('../docs/errors/', import.meta.url);

/** Markdown. */
export async function readCodePage(code: Code): Promise<string> {
  return await readFile(new URL(`${code}.md`, PAGES), 'utf8');
}
