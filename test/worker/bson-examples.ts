/**
 * Arbitrary BSON, byte by byte and of every type, deprecated ones too, each with the Extended JSON that the specification's
 * conversion table gives for it. Written apart from what it tests: slow and literal, with no byte in common.
 */
import fc from 'fast-check';

export interface Example {
  /** The BSON type's number and the value's bytes. */
  readonly type: number;
  readonly bytes: Buffer;
  readonly canonical: string;
  readonly relaxed: string;
}

function same(type: number, bytes: Buffer, json: string): Example {
  return { type, bytes, canonical: json, relaxed: json };
}

export function int32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(n);
  return bytes;
}

export function int64(n: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(n);
  return bytes;
}

export function double(n: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(n);
  return bytes;
}

export function string(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([int32(bytes.length + 1), bytes, Buffer.alloc(1)]);
}

export function cstring(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

export interface Field {
  readonly name: string;
  readonly type: number;
  readonly bytes: Buffer;
}

/** The bytes of a document, in the order given; names may come twice. */
export function documentBytes(fields: readonly Field[]): Buffer {
  const parts = fields.flatMap(({ name, type, bytes }) => [Buffer.from([type]), cstring(name), bytes]);
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length + 5), body, Buffer.alloc(1)]);
}

function documentExample(fields: readonly { name: string; value: Example }[]): Example {
  const text = (form: 'canonical' | 'relaxed'): string =>
    `{${fields.map(({ name, value }) => `${JSON.stringify(name)}:${value[form]}`).join(',')}}`;
  const bytes = documentBytes(fields.map(({ name, value: { type, bytes: of } }) => ({ name, type, bytes: of })));
  return { type: 3, bytes, canonical: text('canonical'), relaxed: text('relaxed') };
}

function arrayExample(values: readonly Example[]): Example {
  const bytes = documentBytes(values.map(({ type, bytes: of }, k) => ({ name: String(k), type, bytes: of })));
  const text = (form: 'canonical' | 'relaxed'): string => `[${values.map((one) => one[form]).join(',')}]`;
  return { type: 4, bytes, canonical: text('canonical'), relaxed: text('relaxed') };
}

function doubleExample(n: number): Example {
  const bytes = double(n);
  const digits = Object.is(n, -0) ? '-0' : String(n);
  // An integer in JSON would be read back as one: a double has a fraction or an exponent.
  const text = /^-?\d+$/.test(digits) ? `${digits}.0` : digits;
  const canonical = `{"$numberDouble":"${text}"}`;
  return { type: 1, bytes, canonical, relaxed: Number.isFinite(n) ? text : canonical };
}

function dateExample(ms: bigint): Example {
  const canonical = `{"$date":{"$numberLong":"${ms}"}}`;
  const inYears = ms >= 0n && ms <= BigInt(Date.UTC(9999, 11, 31, 23, 59, 59, 999));
  const iso = inYears ? new Date(Number(ms)).toISOString().replace('.000Z', 'Z') : '';
  return { type: 9, bytes: int64(ms), canonical, relaxed: inYears ? `{"$date":"${iso}"}` : canonical };
}

/** Decimal128's text by its specification. */
function decimalText(bytes: Buffer): string {
  const high = bytes.readBigUInt64LE(8);
  const sign = high >> 63n === 1n ? '-' : '';
  if (((high >> 58n) & 31n) === 31n) return 'NaN';
  if (((high >> 58n) & 31n) === 30n) return `${sign}Infinity`;
  const largeForm = ((high >> 61n) & 3n) === 3n;
  const exponent = Number((high >> (largeForm ? 47n : 49n)) & 0x3fffn) - 6176;
  const stored = ((high & ((1n << 49n) - 1n)) << 64n) | bytes.readBigUInt64LE(0);
  const digits = String(largeForm || stored >= 10n ** 34n ? 0n : stored);
  const adjusted = exponent + digits.length - 1;
  if (exponent > 0 || adjusted < -6) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    return `${sign}${digits[0]}${fraction}E${adjusted < 0 ? '-' : '+'}${Math.abs(adjusted)}`;
  }
  if (exponent === 0) return sign + digits;
  const padded = digits.padStart(1 - exponent, '0');
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

function binaryExample(data: Uint8Array, subType: number): Example {
  // The old subtype has the length a second time, which is no part of the value.
  const inner = subType === 2 ? Buffer.concat([int32(data.length), data]) : Buffer.from(data);
  const base64 = Buffer.from(data).toString('base64');
  const json = `{"$binary":{"base64":"${base64}","subType":"${subType.toString(16).padStart(2, '0')}"}}`;
  return same(5, Buffer.concat([int32(inner.length), Buffer.from([subType]), inner]), json);
}

function bits(count: number): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ minLength: count, maxLength: count }).map((one) => Buffer.from(one));
}

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.string({ unit: fc.constantFrom(...Array.from('\0\b\t\n\u007f"\\\u2028é☆😀a')) }),
);
const withoutZero = text.map((one) => one.replaceAll('\0', ''));
/** Names that js-bson treats in a way of their own are left out. */
const fieldName = withoutZero.filter((name) => name !== '_bsontype' && name !== '__proto__' && !name.startsWith('$'));

/** Every pattern of bits is some double; most are huge or tiny, so ordinary ones are drawn too. */
const anyDouble = fc.oneof(
  bits(8).map((one) => one.readDoubleLE()),
  fc.double(),
  fc.integer().map((n) => n / 100),
  fc.integer().map((n) => n * 1e6),
  fc.integer({ min: -330, max: 310 }).map((n) => Number(`1e${n}`)),
  fc.constantFrom(
    0,
    -0,
    1,
    -1,
    NaN,
    Infinity,
    -Infinity,
    1e20,
    1e21,
    2 ** 53,
    -(2 ** 63),
    5e-324,
    1e-7,
    123456789.01,
    1e13 + 0.5,
  ),
);
const anyLong = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.integer().map(BigInt),
  fc.constantFrom(
    0n,
    -1n,
    2n ** 31n,
    -(2n ** 31n),
    2n ** 53n,
    2n ** 53n + 1n,
    -(2n ** 53n) - 1n,
    10n ** 15n,
    2n ** 63n - 1n,
    -(2n ** 63n),
  ),
);
const anyDate = fc.oneof(
  anyLong,
  fc.integer({ min: 0, max: Date.UTC(9999, 11, 31, 23, 59, 59, 999) }).map(BigInt),
  fc.integer({ min: 0, max: 253_402_300_799 }).map((seconds) => BigInt(seconds) * 1000n),
  fc.constantFrom(-1n, 0n, 253_402_300_799_999n, 253_402_300_800_000n, 8_640_000_000_000_001n),
);
const anyDecimal = fc.oneof(
  bits(16),
  fc
    .tuple(fc.bigInt({ min: 0n, max: 10n ** 34n - 1n }), fc.integer({ min: -45, max: 10 }), fc.boolean())
    .map(([digits, exponent, minus]) => {
      const bytes = Buffer.alloc(16);
      bytes.writeBigUInt64LE(digits & (2n ** 64n - 1n));
      bytes.writeBigUInt64LE((digits >> 64n) | (BigInt(exponent + 6176) << 49n) | (minus ? 1n << 63n : 0n), 8);
      return bytes;
    }),
);

const oid = bits(12);
const scalar: fc.Arbitrary<Example> = fc.oneof(
  anyDouble.map(doubleExample),
  text.map((one) => same(2, string(one), JSON.stringify(one))),
  fc
    .tuple(fc.uint8Array({ maxLength: 40 }), fc.oneof(fc.nat(255), fc.constantFrom(0, 2, 3, 4, 6, 9, 128)))
    .map(([data, subType]) => binaryExample(data, subType)),
  fc.constant(same(6, Buffer.alloc(0), '{"$undefined":true}')),
  oid.map((id) => same(7, id, `{"$oid":"${id.toString('hex')}"}`)),
  fc.boolean().map((one) => same(8, Buffer.from([one ? 1 : 0]), String(one))),
  anyDate.map(dateExample),
  fc.constant(same(10, Buffer.alloc(0), 'null')),
  fc
    .tuple(withoutZero, fc.constantFrom('', 'i', 'im', 'mix'))
    .map(([pattern, options]) =>
      same(
        11,
        Buffer.concat([cstring(pattern), cstring(options)]),
        `{"$regularExpression":{"pattern":${JSON.stringify(pattern)},"options":"${options}"}}`,
      ),
    ),
  fc
    .tuple(fc.constantFrom('db.coll', 'db.a.b', 'db.é'), oid)
    .map(([ref, id]) =>
      same(
        12,
        Buffer.concat([string(ref), id]),
        `{"$dbPointer":{"$ref":${JSON.stringify(ref)},"$id":{"$oid":"${id.toString('hex')}"}}}`,
      ),
    ),
  text.map((one) => same(13, string(one), `{"$code":${JSON.stringify(one)}}`)),
  text.map((one) => same(14, string(one), `{"$symbol":${JSON.stringify(one)}}`)),
  fc
    .integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
    .map((n) => ({ type: 16, bytes: int32(n), canonical: `{"$numberInt":"${n}"}`, relaxed: String(n) })),
  fc.tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff)).map(([t, i]) => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(i);
    bytes.writeUInt32LE(t, 4);
    return same(17, bytes, `{"$timestamp":{"t":${t},"i":${i}}}`);
  }),
  anyLong.map((n) => ({ type: 18, bytes: int64(n), canonical: `{"$numberLong":"${n}"}`, relaxed: String(n) })),
  anyDecimal.map((bytes) => same(19, bytes, `{"$numberDecimal":"${decimalText(bytes)}"}`)),
  fc.constant(same(127, Buffer.alloc(0), '{"$maxKey":1}')),
  fc.constant(same(255, Buffer.alloc(0), '{"$minKey":1}')),
);

const tree = fc.letrec<{ value: Example; document: Example }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    scalar,
    tie('document'),
    fc.array(tie('value'), { maxLength: 5 }).map(arrayExample),
    fc.tuple(text, tie('document')).map(([code, scope]) => {
      const inner = Buffer.concat([string(code), scope.bytes]);
      const json = (form: 'canonical' | 'relaxed'): string =>
        `{"$code":${JSON.stringify(code)},"$scope":${scope[form]}}`;
      return {
        type: 15,
        bytes: Buffer.concat([int32(inner.length + 4), inner]),
        canonical: json('canonical'),
        relaxed: json('relaxed'),
      };
    }),
  ),
  document: fc
    .uniqueArray(fc.record({ name: fieldName, value: tie('value') }), { maxLength: 6, selector: ({ name }) => name })
    .map(documentExample),
}));

export const documentExamples = tree.document;
