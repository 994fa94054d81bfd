/**
 * The BSON specification's corpus of examples, through the whole worker: each is the document of an insert, between two
 * others, and comes out in each format. Its JSON is normative but for white space, for characters written as escapes and for
 * the digits of large doubles, of which one form is as good as another.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { BSON } from 'bson';
import { bsonCorpus } from '../servers/bson-corpus.ts';
import type { CorpusFile, ValidExample } from '../servers/bson-corpus.ts';
import { ServersUnavailable } from '../servers/unavailable.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { entry, insert, messages, plan, run, text } from './fixtures.ts';

let corpus: Record<string, CorpusFile> | undefined;
let missing = '';

before(async () => {
  try {
    corpus = await bsonCorpus();
  } catch (error) {
    if (!(error instanceof ServersUnavailable)) throw error;
    missing = error.message;
  }
});

function files(t: TestContext): [string, CorpusFile][] {
  if (corpus !== undefined) return Object.entries(corpus);
  console.log(`not run: ${missing}`);
  t.skip(missing);
  return [];
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

/** As compact as we write it: no white space, no escapes for what can stand for itself. */
function compact(json: string): string {
  const pattern = /"(?:[^"\\]|\\.)*"|\s+/g;
  return json.replaceAll(pattern, (part) => (part.startsWith('"') ? JSON.stringify(JSON.parse(part)) : ''));
}

/** Where the corpus leaves the relaxed form out, the specification's table gives it. */
function relaxed(example: ValidExample): string {
  if (example.relaxed_extjson !== undefined) return compact(example.relaxed_extjson);
  return compact(example.canonical_extjson)
    .replaceAll(/\{"\$date":\{"\$numberLong":"(\d{1,14})"\}\}/g, (_, ms: string) => {
      return `{"$date":"${new Date(Number(ms)).toISOString().replace('.000Z', 'Z')}"}`;
    })
    .replaceAll(/(?<!\{"\$date":)\{"\$number(?:Int|Long|Double)":"(-?\d[^"]*)"\}/g, '$1');
}

/** The same double in the digits that we choose for it. */
const OTHER_DIGITS = [['1.2345678921232E+18', '1234567892123200000.0']] as const;

function ourDigits(json: string): string {
  return OTHER_DIGITS.reduce((so, [theirs, ours]) => so.replace(theirs, ours), json);
}

const of = plan([{ format: 'json' }, { format: 'json-canonical' }, { format: 'bson' }]);

/** An insert of these bytes as they are, well-formed or not, between two that are. */
function inserted(document: Uint8Array): BatchResult {
  const bytes = BSON.serialize(entry(2, { op: 'i', ns: 'shop.orders', o2: { _id: 2 } }));
  const o = Buffer.from(bytes).indexOf('\u0003o\0') + 3;
  const whole = new Uint8Array([...bytes.subarray(0, o), ...document, ...bytes.subarray(o + 5)]);
  new DataView(whole.buffer).setInt32(0, whole.length, true);
  return run(of, [insert(1, { _id: 1 }), whole, insert(3, { _id: 3 })]);
}

function bodies(result: BatchResult): Uint8Array[] {
  return messages(result)
    .filter(({ first }) => first[1] === 2)
    .map(({ body }) => body);
}

/** The text of `fullDocument` in an insert, as it lies there. */
function fullDocument(body: Uint8Array): string {
  return /"fullDocument":(.*),"ns":\{"db":"shop","coll":"orders"\},"documentKey":/s.exec(text(body))![1]!;
}

test('every valid example comes out as the specification writes it, and as the same bytes', (t) => {
  let examples = 0;
  for (const [file, { valid = [] }] of files(t)) {
    for (const example of valid) {
      examples++;
      const { description, canonical_bson: bson, canonical_extjson: canonical } = example;
      const result = inserted(bytesOf(bson));
      assert.deepEqual(result.parked, [], `${file}: ${description}`);
      const [json, jsonCanonical, asBson] = bodies(result);
      assert.equal(fullDocument(json!), ourDigits(relaxed(example)), `${file}: ${description}`);
      assert.equal(fullDocument(jsonCanonical!), ourDigits(compact(canonical)), `${file}: ${description}`);
      assert.ok(Buffer.from(asBson!).includes(Buffer.from(`\u0003fullDocument\0`)), description);
      assert.ok(Buffer.from(asBson!).includes(bytesOf(bson)), `${file}: ${description}`);
    }
  }
  if (corpus !== undefined) assert.ok(examples > 700, `${examples} examples`);
  t.diagnostic(`${examples} examples`);
});

test('what is well-formed but written in an unusual way is delivered as it is', (t) => {
  const seen: [string, string][] = [];
  for (const [, { valid = [] }] of files(t)) {
    for (const { description, degenerate_bson: degenerate } of valid) {
      if (degenerate === undefined) continue;
      const [, canonical, asBson] = bodies(inserted(bytesOf(degenerate)));
      assert.ok(Buffer.from(asBson!).includes(bytesOf(degenerate)), description);
      seen.push([description, fullDocument(canonical!)]);
    }
  }
  if (corpus === undefined) return;
  const one = '{"a":[{"$numberInt":"10"}]}';
  assert.deepEqual(seen, [
    ['Single Element Array with index set incorrectly to empty string', one],
    ['Single Element Array with index set incorrectly to ab', one],
    ['Multi Element Array with duplicate indexes', '{"a":[{"$numberInt":"10"},{"$numberInt":"20"}]}'],
    // The order of a regular expression's options is as it was stored.
    ['flags not alphabetized', '{"a":{"$regularExpression":{"pattern":"abc","options":"mix"}}}'],
  ]);
});

/** Errors to the corpus, and yet stored by servers, which do not look inside text and binary values: never a reason to lose a document. */
const REPLACED: Readonly<Record<string, string>> = {
  'code.json: invalid UTF-8': '{"a":{"$code":"\ufffd"}}',
  'string.json: invalid UTF-8': '{"a":"\ufffd"}',
  'symbol.json: invalid UTF-8': '{"a":{"$symbol":"\ufffd"}}',
  'dbpointer.json: String with bad UTF-8':
    '{"a":{"$dbPointer":{"$ref":"\ufffd","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}}',
  'binary.json: subtype 0x02 length too long ': '{"x":{"$binary":{"base64":"AwAAAP//","subType":"02"}}}',
  'binary.json: subtype 0x02 length too short': '{"x":{"$binary":{"base64":"AQAAAP//","subType":"02"}}}',
  'binary.json: subtype 0x02 length negative one': '{"x":{"$binary":{"base64":"////////","subType":"02"}}}',
};

test('what cannot be decoded is parked, and what lies around it delivered; text that is not UTF-8 is replaced', (t) => {
  const replaced: Record<string, string> = {};
  let parked = 0;
  for (const [file, { decodeErrors = [] }] of files(t)) {
    for (const { description, bson } of decodeErrors) {
      const name = `${file}: ${description}`;
      const result = inserted(bytesOf(bson));
      assert.deepEqual([...result.events], result.parked.length > 0 ? [2, 2, 2] : [3, 3, 3], name);
      if (result.parked.length > 0) {
        assert.deepEqual(
          result.parked.map(({ subscription, reason }) => [subscription, reason]),
          [0, 1, 2].map((subscription) => [subscription, 'undecodable']),
          name,
        );
        parked++;
      } else replaced[name] = fullDocument(bodies(result)[1]!);
    }
  }
  if (corpus === undefined) return;
  assert.deepEqual(replaced, REPLACED);
  assert.ok(parked > 60, `${parked} parked`);
  t.diagnostic(`${parked} parked, ${Object.keys(replaced).length} replaced`);
});
