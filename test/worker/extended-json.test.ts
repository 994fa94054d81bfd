/** The two JSON formats against the specification's table, and against js-bson, with all that tells them apart. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { BSON, EJSON } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import { putJsonDocument } from '../../src/worker/json-writer.ts';
import { Output } from '../../src/worker/output.ts';
import { cstring, documentBytes, documentExamples, double, int32, int64, string } from './bson-examples.ts';
import { entry, insert, messages, plan, run, text } from './fixtures.ts';

const out = new Output(1 << 20);

function write(bytes: Uint8Array, relaxed: boolean): string {
  const end = putJsonDocument(out, 0, bytes, 0, bytes.length, relaxed);
  return text(out.bytes.subarray(0, end));
}

function byJsBson(bytes: Uint8Array, relaxed: boolean): string {
  return EJSON.stringify(BSON.deserialize(bytes, { promoteValues: false, bsonRegExp: true }), { relaxed });
}

test("documents of every type are written byte for byte as the specification's table has them", () => {
  fc.assert(
    fc.property(documentExamples, ({ bytes, canonical, relaxed }) => {
      assert.equal(write(bytes, false), canonical);
      assert.equal(write(bytes, true), relaxed);
    }),
    { numRuns: 5000 },
  );
});

/** What a document of ours says once the table's differences are taken away; every other value is left alone. */
function asJsBsonHasIt(json: string): unknown {
  return JSON.parse(json, (name, value: unknown) => {
    if (name === '$numberDouble') return Number(value);
    if (name === '$numberLong') return Math.abs(Number(value)) > 8.64e15 ? 'beyond a Date' : value;
    if (name === '$numberDecimal') return decimalAsJsBsonHasIt(String(value));
    if (name === 'options' && typeof value === 'string') return value.split('').toSorted().join('');
    if (typeof value === 'number') return value + 0;
    if (typeof value !== 'object' || value === null) return value;
    const object: Document = value;
    if (object['$undefined'] === true) return null;
    const pointer: { $ref: string; $id: unknown } | undefined = object['$dbPointer'];
    if (pointer === undefined) return value;
    const [db, coll, ...rest] = pointer.$ref.split('.');
    return rest.length === 0 ? { $ref: coll, $id: pointer.$id, $db: db } : { $ref: pointer.$ref, $id: pointer.$id };
  });
}

/** Zeros and what is zero for having too many digits are not told apart. */
function decimalAsJsBsonHasIt(decimal: string): string {
  const digits = decimal.replaceAll(/E.*|[-.]/g, '').replace(/^0+/, '');
  return /^\d{1,34}$|^NaN$|^Infinity$/.test(digits) ? decimal : 'zero';
}

/** js-bson says NaN for a date that is no `Date`; a long of that size can only be told from it by what is around it. */
function withoutFarDates(json: string): unknown {
  return asJsBsonHasIt(json.replaceAll('{"$numberLong":"NaN"}', '{"$numberLong":"9000000000000000"}'));
}

for (const relaxed of [true, false]) {
  test(`${relaxed ? 'relaxed' : 'canonical'} JSON says the same as js-bson's, but for the listed differences`, () => {
    fc.assert(
      fc.property(documentExamples, ({ bytes, canonical }) => {
        // Vectors that are none: refused by js-bson, see the table.
        fc.pre(!canonical.includes('"subType":"09"'));
        assert.deepEqual(withoutFarDates(write(bytes, relaxed)), withoutFarDates(byJsBson(bytes, relaxed)));
      }),
      { numRuns: 3000 },
    );
  });
}

interface Difference {
  readonly what: string;
  /** In both forms, or in relaxed JSON only. */
  readonly relaxedOnly?: true;
  readonly document: Buffer;
  readonly ours: string;
  /** Undefined where js-bson refuses the document. */
  readonly theirs: string | undefined;
}

function x(type: number, ...bytes: readonly Buffer[]): Buffer {
  return documentBytes([{ name: 'x', type, bytes: Buffer.concat(bytes) }]);
}

const id = Buffer.from('0102030405060708090a0b0c', 'hex');
const oid = '{"$oid":"0102030405060708090a0b0c"}';

/** The table in docs/extended-json.md. */
const DIFFERENCES: readonly Difference[] = [
  { what: 'a double without a fraction', relaxedOnly: true, document: x(1, double(1)), ours: '1.0', theirs: '1' },
  { what: 'the double -0.0', relaxedOnly: true, document: x(1, double(-0)), ours: '-0.0', theirs: '0' },
  {
    what: 'a 64-bit integer beyond 2^53',
    relaxedOnly: true,
    document: x(18, int64(9_007_199_254_740_993n)),
    ours: '9007199254740993',
    theirs: '9007199254740992',
  },
  {
    what: "a date beyond JavaScript's",
    document: x(9, int64(8_640_000_000_000_001n)),
    ours: '{"$date":{"$numberLong":"8640000000000001"}}',
    theirs: '{"$date":{"$numberLong":"NaN"}}',
  },
  {
    what: 'a Decimal128 of more than 34 digits',
    document: x(19, Buffer.alloc(15), Buffer.from([0x6c])),
    ours: '{"$numberDecimal":"0E-32"}',
    theirs: '{"$numberDecimal":"103.84593717069655257060992658440192"}',
  },
  { what: 'undefined', document: x(6), ours: '{"$undefined":true}', theirs: 'null' },
  {
    what: 'a DBPointer',
    document: x(12, string('db.c'), id),
    ours: `{"$dbPointer":{"$ref":"db.c","$id":${oid}}}`,
    theirs: `{"$ref":"c","$id":${oid},"$db":"db"}`,
  },
  {
    what: "a regular expression's options out of order",
    document: x(11, cstring('a'), cstring('mi')),
    ours: '{"$regularExpression":{"pattern":"a","options":"mi"}}',
    theirs: '{"$regularExpression":{"pattern":"a","options":"im"}}',
  },
  {
    what: 'a DBRef with its fields in another order',
    document: x(
      3,
      documentBytes([
        { name: '$id', type: 2, bytes: string('i') },
        { name: '$ref', type: 2, bytes: string('c') },
      ]),
    ),
    ours: '{"$id":"i","$ref":"c"}',
    theirs: '{"$ref":"c","$id":"i"}',
  },
  {
    what: 'names that are numbers, after others',
    document: x(
      3,
      documentBytes([
        { name: 'b', type: 10, bytes: Buffer.alloc(0) },
        { name: '1', type: 10, bytes: Buffer.alloc(0) },
      ]),
    ),
    ours: '{"b":null,"1":null}',
    theirs: '{"1":null,"b":null}',
  },
  {
    what: 'a name that comes twice',
    document: x(
      3,
      documentBytes([
        { name: 'a', type: 2, bytes: string('1') },
        { name: 'a', type: 2, bytes: string('2') },
      ]),
    ),
    ours: '{"a":"1","a":"2"}',
    theirs: '{"a":"2"}',
  },
  {
    what: 'a field called `_bsontype`',
    document: x(3, documentBytes([{ name: '_bsontype', type: 2, bytes: string('Int32') }])),
    ours: '{"_bsontype":"Int32"}',
    theirs: undefined,
  },
  {
    what: 'text that is not UTF-8',
    document: x(2, string(Buffer.from([0x61, 0xe9]))),
    ours: '"a\ufffd"',
    theirs: undefined,
  },
  {
    what: 'binary subtype 2 whose inner length is wrong',
    document: x(5, int32(6), Buffer.from([2]), int32(9), Buffer.from([255, 255])),
    ours: '{"$binary":{"base64":"CQAAAP//","subType":"02"}}',
    theirs: undefined,
  },
  {
    what: 'binary subtype 9 that holds no vector',
    document: x(5, int32(1), Buffer.from([9, 39])),
    ours: '{"$binary":{"base64":"Jw==","subType":"09"}}',
    theirs: undefined,
  },
];

test('where js-bson has another form, ours is that of the specification, and the documentation lists it', async () => {
  const docs = await readFile(new URL('../../docs/extended-json.md', import.meta.url), 'utf8');
  const rows = DIFFERENCES.map(({ what, relaxedOnly, document, ours, theirs }) => {
    for (const relaxed of relaxedOnly === undefined ? [true, false] : [true]) {
      assert.equal(write(document, relaxed), `{"x":${ours}}`, what);
      if (theirs === undefined) assert.throws(() => byJsBson(document, relaxed), what);
      else assert.equal(byJsBson(document, relaxed), `{"x":${theirs}}`, what);
    }
    const format = relaxedOnly === undefined ? 'both' : '`json`';
    return `| ${what} | ${format} | \`${ours}\` | ${theirs === undefined ? 'refused' : `\`${theirs}\``} |`;
  });
  const table = docs.split('\n').filter((line) => line.startsWith('|'));
  const squeezed = table.map((line) => line.replaceAll(/ {2,}/g, ' '));
  assert.deepEqual(squeezed.slice(2), rows);
});

test('in the format bson a document is the bytes that the entry holds, whatever its text', () => {
  const of = plan([{ format: 'bson' }]);
  const notUtf8 = x(2, string(Buffer.from([0x61, 0xe9])));
  const empty = BSON.serialize({});
  fc.assert(
    fc.property(fc.oneof(documentExamples, fc.constant({ bytes: notUtf8 })), ({ bytes: document }) => {
      const whole = Buffer.from(BSON.serialize(entry(2, { op: 'i', ns: 'shop.orders', o2: { _id: 2 } })));
      const o = whole.indexOf('\u0003o\0') + 3;
      const one = new Uint8Array(Buffer.concat([whole.subarray(0, o), document, whole.subarray(o + empty.length)]));
      new DataView(one.buffer).setInt32(0, one.length, true);
      const seen = messages(run(of, [insert(1, { _id: 1 }), one]));
      const body = Buffer.from(seen[1]!.body);
      const at = body.indexOf('\u0003fullDocument\0') + 'fullDocument'.length + 2;
      assert.ok(document.equals(body.subarray(at, at + body.readInt32LE(at))));
    }),
    { numRuns: 500 },
  );
});
