/** The pages of docs/errors, from the package itself: they are at hand where there is no browser and no network. */
import { readFile } from 'node:fs/promises';
import type { Code } from './codes.ts';

const PAGES = new URL('../docs/errors/', import.meta.url);

/** Markdown. */
export async function readCodePage(code: Code): Promise<string> {
  return await readFile(new URL(`${code}.md`, PAGES), 'utf8');
}

export interface CodePage {
  readonly code: Code;
  /** What happened. */
  readonly title: string;
  readonly why: string;
  readonly whatToDo: string;
  readonly meanwhile: string;
  readonly lostOrRepeated: string;
}

const read = new Map<Code, Promise<CodePage>>();

/** A page in its parts. They do not change while this version runs. */
export function readCode(code: Code): Promise<CodePage> {
  let page = read.get(code);
  if (page === undefined) {
    page = readCodePage(code).then((text) => parsePage(code, text));
    page.catch(() => read.delete(code));
    read.set(code, page);
  }
  return page;
}

/** The pages have these parts, in this order: a test sees to it. */
function parsePage(code: Code, text: string): CodePage {
  const [, title = '', why = '', whatToDo = '', meanwhile = '', lostOrRepeated = ''] = text
    .split(/^#.*$/m)
    .map((part) => part.trim());
  return { code, title, why, whatToDo, meanwhile, lostOrRepeated };
}
