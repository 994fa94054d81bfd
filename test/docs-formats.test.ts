/** The examples in docs/formats-and-shaping.md are what the program writes; `UPDATE_DOCS=1` writes them anew. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Long, ObjectId } from 'bson';
import { format as pretty } from 'prettier';
import type { SubscriptionPlan } from '../src/worker/protocol.ts';
import { entry, messages, plan, run } from './worker/fixtures.ts';

const FILE = new URL('../docs/formats-and-shaping.md', import.meta.url);

const id = new ObjectId('6b02867ff153d8281a8c2fde');
const diff = { u: { status: 'paid', total: Long.fromInt(120) }, d: { coupon: false } };
const entries = [entry(2, { op: 'u', o: { $v: 2, diff }, o2: { _id: id } }), entry(3, { op: 'd', o: { _id: id } })];
const cloudEvents = { source: '/{source}/{db}/{coll}', type: 'mongodb.{operationType}', headerPrefix: 'cloudEvents:' };

const EXAMPLES: Readonly<Record<string, Partial<SubscriptionPlan>>> = {
  json: {},
  debezium: { format: 'debezium' },
  'cloudevents structured': { format: 'cloudevents', craft: { cloudEvents: { ...cloudEvents, mode: 'structured' } } },
  'cloudevents binary': { format: 'cloudevents', craft: { cloudEvents: { ...cloudEvents, mode: 'binary' } } },
};

async function printed(subscription: Partial<SubscriptionPlan>): Promise<string> {
  const shown = messages(run(plan([subscription]), entries)).map(({ body, headers }) => {
    const lines = Object.entries(headers ?? {}).map(([name, value]) => `// header ${name}: ${value}`);
    // The version would change the example with each release.
    const text = Buffer.from(body)
      .toString()
      .replace(/"version":"[^"]+"/, '"version":"…"');
    return [...lines, text].join('\n');
  });
  const formatted = await Promise.all(
    shown.map((one) => pretty(one, { parser: 'json', quoteProps: 'preserve', singleQuote: false, printWidth: 120 })),
  );
  return `\`\`\`json\n${formatted.join('\n')}\`\`\``;
}

test('the examples of the formats are what the program writes', async () => {
  let text = await readFile(FILE, 'utf8');
  for (const [name, subscription] of Object.entries(EXAMPLES)) {
    const marker = `<!-- example: ${name} -->\n\n`;
    const at = text.indexOf(marker) + marker.length;
    assert.ok(at >= marker.length, name);
    const block = /^```json\n[\s\S]*?```/.exec(text.slice(at))?.[0] ?? '';
    const now = await printed(subscription);
    if (process.env['UPDATE_DOCS'] === '1')
      text = `${text.slice(0, at)}${now}${block === '' ? '\n\n' : ''}${text.slice(at + block.length)}`;
    else assert.equal(block, now, name);
  }
  if (process.env['UPDATE_DOCS'] === '1') await writeFile(FILE, text);
});
