/** docs/api.md lists the endpoints that there are; `UPDATE_DOCS=1` writes the list anew. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { format as pretty } from 'prettier';
import { z } from 'zod';
import { endpoints } from '../../src/api/app.ts';
import { named } from '../../src/api/schemas.ts';

const FILE = new URL('../../docs/api.md', import.meta.url);
/** Of a body that has a name, that; of any other its fields. */
function bodyNames(body: z.ZodType | undefined): readonly string[] {
  if (body === undefined) return [];
  const name = named.get(body)?.id;
  if (name !== undefined) return [name];
  return body instanceof z.ZodObject ? Object.keys(body.shape) : [];
}

const MARKER = '<!-- endpoints -->\n\n';

test('docs/api.md lists every endpoint, and none that there is not', async () => {
  const rows = endpoints.map(({ method = 'get', path, query, body, summary }) => {
    const names = [...Object.keys(query.shape), ...bodyNames(body)];
    return `| \`${method.toUpperCase()} ${path}\` | ${names.map((name) => `\`${name}\``).join(' ')} | ${summary} |`;
  });
  const table = ['| below `/api/v1` | may be asked with | answers |', '| --- | --- | --- |', ...rows].join('\n');
  const now = await pretty(table, { parser: 'markdown', proseWrap: 'preserve' });
  const text = await readFile(FILE, 'utf8');
  const at = text.indexOf(MARKER) + MARKER.length;
  const before = /^(?:\|.*\n)*/.exec(text.slice(at))?.[0] ?? '';
  if (process.env['UPDATE_DOCS'] === '1') {
    await writeFile(FILE, `${text.slice(0, at)}${now}${before === '' ? '\n' : ''}${text.slice(at + before.length)}`);
  } else {
    assert.equal(before, now);
  }
});
