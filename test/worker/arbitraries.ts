/** Arbitrary BSON documents of every type that js-bson can write. */
import {
  BSONRegExp,
  BSONSymbol,
  Binary,
  Code,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from 'bson';
import fc from 'fast-check';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const withoutZero = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', ''));
/** Names that objects treat in a way of their own are left out, so that an object can hold the document. */
export const fieldName = fc
  .oneof(withoutZero, fc.constantFrom('a', 'u', 'l', 's0', '0', 'x.y', 'd', 'i', '$set', '', 'diff', 'b'))
  .filter((name) => name !== '__proto__' && name !== '_bsontype' && name !== 'toBSON');

/** Not more than 34 digits, by the bits that would say so and the highest of the digits' own: js-bson reads those wrongly. */
function withinDigits(decimal: Uint8Array): Uint8Array {
  const top = decimal[15]!;
  const small = decimal.with(14, decimal[14]! & 0xfe);
  return (top & 0x60) === 0x60 && (top & 0x78) !== 0x78 ? small.with(15, top & 0x9f) : small;
}

export const scalar = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.integer().map((n) => new Int32(n)),
  fc.double().map((n) => new Double(n)),
  fc.integer({ min: -1e9, max: 1e9 }).map((n) => new Double(n / 100)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n) => Long.fromBigInt(n)),
  fc.integer().map((n) => Long.fromNumber(n)),
  fc.boolean(),
  fc.constant(null),
  bytes(12).map((b) => new ObjectId(b)),
  fc.date({ noInvalidDate: true }),
  fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
  fc.tuple(fc.uint8Array({ maxLength: 50 }), fc.constantFrom(0, 1, 5, 6, 128)).map(([b, type]) => new Binary(b, type)),
  bytes(16).map((b) => new UUID(b)),
  fc.tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff)).map(([t, i]) => new Timestamp({ t, i })),
  bytes(16).map((b) => new Decimal128(withinDigits(b))),
  fc.tuple(withoutZero, fc.constantFrom('', 'i', 'im')).map(([pattern, options]) => new BSONRegExp(pattern, options)),
  fc.string().map((text) => new Code(text)),
  fc.string().map((text) => new BSONSymbol(text)),
  fc.constantFrom(new MinKey(), new MaxKey()),
);

export const value = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4, depthSize: 'small' }, scalar, tie('document'), tie('array'), tie('code')),
  document: fc.dictionary(fieldName, tie('value'), { maxKeys: 6 }),
  array: fc.array(tie('value'), { maxLength: 5 }),
  code: fc
    .tuple(fc.string(), fc.dictionary(fieldName, scalar, { maxKeys: 2 }))
    .map(([text, scope]) => new Code(text, scope)),
})).value;

export const document = fc.dictionary(fieldName, value, { maxKeys: 8 });
