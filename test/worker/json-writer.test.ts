import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Binary, Decimal128, Double, EJSON, Int32, Long, Timestamp } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import { MalformedBson } from '../../src/worker/bson.ts';
import { putJsonDocument } from '../../src/worker/json-writer.ts';
import { Output } from '../../src/worker/output.ts';
import { document } from './arbitraries.ts';
import { text } from './fixtures.ts';

const out = new Output(1 << 20);

function write(bytes: Uint8Array, relaxed: boolean): string {
  const end = putJsonDocument(out, 0, bytes, 0, bytes.length, relaxed);
  return text(out.bytes.subarray(0, end));
}

function written(doc: Document, relaxed = true): string {
  return write(BSON.serialize(doc), relaxed);
}

/** Large doubles may be written with different digits of the same number, and js-bson's relaxed -0.0 is 0. */
function parse(written: string): unknown {
  return JSON.parse(written, (name, value: unknown) => {
    const plain = name === '$numberDouble' ? Number(value) : value;
    return plain === 0 ? 0 : plain;
  });
}

/** A document with one field `x` of a type that js-bson does not write. */
function rawField(type: number, ...value: number[]): Uint8Array {
  return new Uint8Array([8 + value.length, 0, 0, 0, type, 0x78, 0, ...value, 0]);
}

for (const relaxed of [true, false]) {
  test(`${relaxed ? 'relaxed' : 'canonical'} JSON says the same as js-bson's for every document`, () => {
    fc.assert(
      fc.property(document, (doc) => {
        const bytes = BSON.serialize(doc);
        const decoded = BSON.deserialize(bytes, { promoteValues: false, bsonRegExp: true });
        const expected = EJSON.stringify(decoded, { relaxed });
        assert.deepEqual(parse(write(bytes, relaxed)), parse(expected));
      }),
      { numRuns: 1000 },
    );
  });
}

test('an integral double keeps a fraction, and an integer of any size all its digits', () => {
  const doc = {
    a: new Double(1),
    b: new Double(-0),
    c: new Double(1e20),
    d: new Double(1e21),
    e: new Double(0.1),
    f: new Double(-12.5),
    g: new Double(5e-324),
    h: Long.MAX_VALUE,
    i: Long.MIN_VALUE,
    j: Long.fromString('-9007199254740993'),
    k: new Int32(-2_147_483_648),
    l: new Double(1234.56),
    m: new Double(Number.NaN),
    n: new Double(-Infinity),
    o: new Double(1e12 + 0.05),
  };
  assert.equal(
    written(doc),
    '{"a":1.0,"b":-0.0,"c":100000000000000000000.0,"d":1e+21,"e":0.1,"f":-12.5,"g":5e-324,"h":9223372036854775807,' +
      '"i":-9223372036854775808,"j":-9007199254740993,"k":-2147483648,"l":1234.56,"m":{"$numberDouble":"NaN"},' +
      '"n":{"$numberDouble":"-Infinity"},"o":1000000000000.05}',
  );
  assert.equal(
    written({ a: new Double(1), b: new Double(-0) }, false),
    '{"a":{"$numberDouble":"1.0"},"b":{"$numberDouble":"-0.0"}}',
  );
});

test('every double reads back as itself', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer().map((n) => n / 1000),
      ),
      (n) => {
        const parsed: { n: number } = JSON.parse(written({ n: new Double(n) }));
        assert.ok(Object.is(parsed.n, n), String(n));
      },
    ),
    { numRuns: 5000 },
  );
});

test('a date is text from 1970 to 9999, with milliseconds only where there are any, and a number outside', () => {
  const doc = {
    a: new Date('2026-11-22T06:06:55.756Z'),
    b: new Date('2024-02-29T00:00:00Z'),
    c: new Date(0),
    d: new Date('9999-12-31T23:59:59.999Z'),
    e: new Date(-1),
    f: new Date('+010000-01-01T00:00:00Z'),
  };
  assert.equal(
    written(doc),
    '{"a":{"$date":"2026-11-22T06:06:55.756Z"},"b":{"$date":"2024-02-29T00:00:00Z"},"c":{"$date":"1970-01-01T00:00:00Z"},' +
      '"d":{"$date":"9999-12-31T23:59:59.999Z"},"e":{"$date":{"$numberLong":"-1"}},"f":{"$date":{"$numberLong":"253402300800000"}}}',
  );
});

test('every day from 1970 to 9999 has its calendar date', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (ms) => {
      const iso = new Date(ms).toISOString();
      assert.equal(written({ d: new Date(ms) }), `{"d":{"$date":"${iso.replace('.000Z', 'Z')}"}}`);
    }),
    { numRuns: 5000 },
  );
});

test('deprecated types are written as Extended JSON has them', () => {
  assert.equal(write(rawField(6), true), '{"x":{"$undefined":true}}');
  const id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
  assert.equal(
    write(rawField(12, 2, 0, 0, 0, 0x62, 0, ...id), true),
    '{"x":{"$dbPointer":{"$ref":"b","$id":{"$oid":"0102030405060708090a0b0c"}}}}',
  );
  // The old binary subtype repeats its length in front of the bytes.
  assert.equal(
    write(rawField(5, 5, 0, 0, 0, 2, 1, 0, 0, 0, 0xff), true),
    '{"x":{"$binary":{"base64":"/w==","subType":"02"}}}',
  );
  assert.equal(
    written({ x: new Binary(new Uint8Array([1]), 128) }),
    '{"x":{"$binary":{"base64":"AQ==","subType":"80"}}}',
  );
  assert.equal(written({ x: new Timestamp({ t: 0xffff_ffff, i: 1 }) }), '{"x":{"$timestamp":{"t":4294967295,"i":1}}}');
  assert.equal(written({ x: Decimal128.fromString('1E+3') }), '{"x":{"$numberDecimal":"1E+3"}}');
});

test('text that is not UTF-8 becomes the same replacement characters as in a decoder, and the output stays valid', () => {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const nasty = fc.array(
    fc.oneof(fc.nat(255), fc.constantFrom(0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0x80, 0x8f, 0xa0, 0xbf)),
  );
  fc.assert(
    fc.property(nasty, (codes) => {
      const length = codes.length + 1;
      const bytes = rawField(2, length & 255, length >> 8, 0, 0, ...codes, 0);
      bytes[0] = bytes.length & 255;
      bytes[1] = bytes.length >> 8;
      const parsed: { x: string } = JSON.parse(write(bytes, true));
      assert.equal(parsed.x, decoder.decode(new Uint8Array(codes)));
    }),
    { numRuns: 5000 },
  );
});

test('a document nested beyond any server is refused, not followed until the stack ends', () => {
  let bytes = new Uint8Array([5, 0, 0, 0, 0]);
  for (let depth = 0; depth < 20_000; depth++) {
    const outer = new Uint8Array(bytes.length + 8);
    new DataView(outer.buffer).setInt32(0, outer.length, true);
    outer.set([3, 0x78, 0], 4);
    outer.set(bytes, 7);
    bytes = outer;
    if (depth > 1000) break;
  }
  assert.throws(() => write(bytes, true), MalformedBson);
});

test('what does not fit is measured all the same: the second try has room', () => {
  const bytes = BSON.serialize({ text: 'x'.repeat(1000), list: [1, 2, 3], when: new Date(0) });
  const small = new Output(16);
  const end = putJsonDocument(small, 0, bytes, 0, bytes.length, true);
  small.grow(end, 0);
  assert.equal(putJsonDocument(small, 0, bytes, 0, bytes.length, true), end);
  assert.equal(text(small.bytes.subarray(0, end)), write(bytes, true));
});
