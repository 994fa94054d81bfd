/** docs/errors and the list of codes are one: a page for each, with the sections that somebody in trouble looks for. */
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { CODES } from '../src/codes.ts';
import { explain } from '../src/commands/explain.ts';
import { UserError } from '../src/errors.ts';

const PAGES = new URL('../docs/errors/', import.meta.url);
const INDEX = 'README.md';
const SECTIONS = ['## Why', '## What to do', '## Meanwhile', '## Lost or repeated'];

test('each code has one page, and no page is of a code that there is not', async () => {
  const pages = (await readdir(PAGES)).filter((name) => name !== INDEX).map((name) => name.replace(/\.md$/, ''));
  assert.deepEqual(pages.toSorted(), [...CODES].toSorted());
  assert.equal(new Set(CODES).size, CODES.length);
});

test('each page says what happened, why, what to do, what Tailrace does meanwhile, and what is lost or repeated', async () => {
  for (const code of CODES) {
    const page = await readFile(new URL(`${code}.md`, PAGES), 'utf8');
    assert.deepEqual(
      page.split('\n').filter((line) => line.startsWith('#')),
      [`# ${code}`, ...SECTIONS],
      code,
    );
    for (const part of page.split(/^#.*$/m).slice(1)) assert.match(part, /\S/, `${code} has an empty section`);
    for (const [, mentioned = ''] of page.matchAll(/\]\(([^)#]+)\)/g)) {
      await readFile(new URL(mentioned, PAGES)).catch(() => assert.fail(`${code} links to ${mentioned}`));
    }
  }
});

test('the index lists them all', async () => {
  const index = await readFile(new URL(INDEX, PAGES), 'utf8');
  const listed = [...index.matchAll(/^- \[([^\]]+)\]\(\1\.md\)/gm)].map(([, code = '']) => code);
  assert.deepEqual(listed.toSorted(), [...CODES].toSorted());
});

test('explain prints the page, and for a code that there is not the nearest one; no path leads out of the folder', async () => {
  let printed = '';
  assert.equal(await explain('held-nacked', (text) => (printed += text)), 0);
  assert.match(printed, /^# held-nacked\n/);
  await assert.rejects(
    explain('held-nackd'),
    (error) => error instanceof UserError && error.code === 'usage' && /did you mean "held-nacked"/.test(error.message),
  );
  // Who read "reason":"missing-field" in the log asks for that.
  await assert.rejects(
    explain('missing-field'),
    /there is no code "missing-field"; did you mean "parked-missing-field"\?/,
  );
  await assert.rejects(explain('refused'), /did you mean "credentials-refused" or "sink-refused" or /);
  await assert.rejects(explain('../security'), UserError);
});
