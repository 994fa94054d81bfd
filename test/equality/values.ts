/** Random values of every BSON type, deprecated ones too, and the names and `_id`s that trip a decoder. */
import { Binary, Code, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, BSONRegExp, Timestamp } from 'bson';
import { Fields, RawValue } from './bson.ts';
import type { Random } from './random.ts';

const NONE = new Uint8Array(0);

/** The letters of the oplog's diffs, numbers, dots and dollars among ordinary names. */
export const PLAIN_NAMES = [
  'a',
  'b',
  'u',
  'l',
  'i',
  'd',
  's',
  's0',
  'sa',
  'u0',
  '0',
  '1',
  '10',
  '01',
  'x',
  'été',
  '日本',
];
// Not `$v`: at the top of a document it makes the server's own change stream fail (seen on 6.0.5).
export const ODD_NAMES = ['', 'x.y', '$x', 'a.', '.b', '..', '0.1', '$', ' ', 'a\tb', '😀', 'id', 'o.p.q', 'diff'];

const DOUBLES = [0, -0, 1, -1, 1.5, 1e21, 1e-7, 5e-324, 1.797_693_134_862_315_7e308, Number.NaN, Infinity, -Infinity];
const INTEGERS = [0, 1, -1, 7, 255, 65_536, 2_147_483_647, -2_147_483_648];
const LONGS = ['0', '1', '-1', '2147483648', '9007199254740993', '9223372036854775807', '-9223372036854775808'];
const DECIMALS = [
  '0',
  '-0',
  '1',
  '1.0',
  '1E+3',
  'NaN',
  'Infinity',
  '-Infinity',
  '9.999999999999999999999999999999999E+6144',
];
const DATES = [0, 1, -1, 1_795_327_615_756, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000];
const TEXTS = [
  '',
  'x',
  'a.b',
  '$a',
  'tab\t',
  'line\nfeed',
  '"quoted\\"',
  'é',
  '日本語',
  '😀',
  '\u2028',
  '\u007f',
  'nul\0in',
];

export function randomValue(random: Random, depth = 0): unknown {
  return random.weighted([
    [8, () => new Int32(random.pick(INTEGERS))],
    [8, () => new Int32(random.between(-1000, 1000))],
    [5, () => new Double(random.chance(0.6) ? random.pick(DOUBLES) : random.next() * 1e6)],
    [5, () => Long.fromString(random.pick(LONGS))],
    [4, () => Decimal128.fromString(random.pick(DECIMALS))],
    [8, () => randomText(random)],
    [3, () => new ObjectId(randomBytes(random, 12))],
    [3, () => random.chance(0.5)],
    [3, () => null],
    [4, () => randomDate(random)],
    [2, () => new Timestamp({ t: random.below(2 ** 31), i: random.between(1, 9) })],
    [2, () => new Binary(randomBytes(random, random.below(20)), random.pick([0, 1, 3, 5, 6, 128]))],
    [1, () => new Binary(randomBytes(random, 16), 4)],
    [2, () => new BSONRegExp(random.pick(['', '^a.*$', 'é/"', '\\d+']), random.pick(['', 'i', 'imx']))],
    [1, () => new Code('function () { return "x"; }')],
    [1, () => new Code('x', { x: 1, 'y.z': { u: 'é' } })],
    [1, () => new MinKey()],
    [1, () => new MaxKey()],
    [1, () => new RawValue(6, NONE)],
    [1, () => new RawValue(14, textBytes(randomText(random)))],
    [1, () => new RawValue(12, Buffer.concat([textBytes('db.coll'), randomBytes(random, 12)]))],
    [depth < 4 ? 0.1 : 0, () => deepValue(random.between(20, 80))],
    [depth < 4 ? 6 : 0, () => randomDocument(random, depth + 1)],
    [depth < 4 ? 6 : 0, () => random.many(random.below(5), () => randomValue(random, depth + 1))],
  ])();
}

export function randomDocument(random: Random, depth = 0): Fields {
  const names = new Set(random.many(random.below(5), () => randomName(random)));
  return new Fields([...names].map((name) => [name, randomValue(random, depth)] as const));
}

export function randomName(random: Random): string {
  return random.pick(random.chance(0.15) ? ODD_NAMES : PLAIN_NAMES);
}

/** What may stand as `_id`: no array, no regular expression, no undefined; numbers that are equal over types among them. */
export function randomId(random: Random, number: number): unknown {
  return random.weighted([
    [10, () => new Int32(number)],
    [4, () => new ObjectId(number.toString(16).padStart(24, '6'))],
    [2, () => `key ${number} é`],
    [2, () => new Double(number + 0.5)],
    [2, () => new Double(number)],
    [2, () => Long.fromNumber(number)],
    [1, () => Decimal128.fromString(`${number}.0`)],
    [
      2,
      () =>
        new Fields([
          ['a', new Int32(number)],
          ['b', randomText(random)],
        ]),
    ],
    [
      1,
      () =>
        new Fields([
          ['0', new Double(number)],
          ['u', new Fields([['x', null]])],
        ]),
    ],
    [1, () => new Binary(Buffer.from(`bin ${number}`))],
    [1, () => new Date(number)],
    [1, () => new Timestamp({ t: number, i: 1 })],
    [1, () => new Binary(Buffer.from(String(number).padStart(16, '0')), 4)],
    [
      0.3,
      () => random.pick<unknown>([null, true, '', new MinKey(), new MaxKey(), new Double(Number.NaN), new Code('x')]),
    ],
  ])();
}

/** Documents and arrays in each other. */
function deepValue(levels: number): unknown {
  let value: unknown = new Int32(levels);
  for (let level = 0; level < levels; level += 1)
    value = level % 3 === 0 ? [value] : { [level % 2 ? 'a' : '0']: value };
  return value;
}

function randomText(random: Random): string {
  return random.chance(0.5) ? random.pick(TEXTS) : 'x'.repeat(random.below(40)) + random.pick(TEXTS);
}

function randomDate(random: Random): unknown {
  if (random.chance(0.2)) return new RawValue(9, Buffer.from(Long.fromString(random.pick(LONGS)).toBytesLE()));
  return new Date(random.chance(0.5) ? random.pick(DATES) : random.below(2 ** 41));
}

function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(random.many(length, () => random.below(256)));
}

function textBytes(text: string): Buffer {
  const bytes = Buffer.from(`0000${text}\0`);
  bytes.writeInt32LE(bytes.length - 4);
  return bytes;
}
