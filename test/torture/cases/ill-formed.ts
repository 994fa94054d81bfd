/** Documents that mongod takes and that no driver would write. */
import type { Random } from '../../equality/random.ts';

const TYPE = { double: 1, string: 2, array: 4, binary: 5, date: 9, regex: 11, int32: 16, long: 18, decimal: 19 };

/** With `n` as its `_id`, and some fields that are ill-formed, or well-formed at their very ends. */
export function illFormed(n: number, random: Random): Buffer {
  const id = element(TYPE.int32, Buffer.from('_id'), int32(n));
  const fields = random.many(random.between(1, 12), () => field(random));
  return wrapped([id, ...fields]);
}

function field(random: Random): Buffer {
  const name = random.pick([
    Buffer.from('a'),
    Buffer.from('a'),
    Buffer.alloc(0),
    Buffer.from([0xff, 0xfe]),
    Buffer.from([0xc3]),
    Buffer.from('a.b'),
    Buffer.from('$set'),
    Buffer.from('__proto__'),
  ]);
  return random.pick([
    () => element(TYPE.string, name, text(random)),
    () => element(TYPE.double, name, random.pick([NAN, Buffer.alloc(8, 0xff), Buffer.from('000000000000f0ff', 'hex')])),
    () => element(TYPE.date, name, random.pick([Buffer.alloc(8, 0xff), Buffer.from('ffffffffffffff7f', 'hex')])),
    () => element(TYPE.long, name, Buffer.from('0000000000000080', 'hex')),
    () => element(TYPE.decimal, name, random.pick([Buffer.alloc(16, 0xff), Buffer.alloc(16, 0x7f)])),
    () => element(TYPE.regex, name, Buffer.from('a(\0zyx\0', 'latin1')),
    // The names of an array's elements are nobody's business.
    () => element(TYPE.array, name, wrapped([element(TYPE.int32, Buffer.from('7'), int32(1))])),
    // A binary of the old kind says its length twice.
    () => element(TYPE.binary, name, Buffer.concat([int32(6), Buffer.from([2]), int32(2), Buffer.from([1, 2])])),
  ])();
}

const NAN = Buffer.from('0100000000000ff8', 'hex');

function text(random: Random): Buffer {
  const bytes = random.pick([
    Buffer.from([0xff]),
    Buffer.from([0xed, 0xa0, 0x80]),
    Buffer.from([0xf0, 0x9f, 0x98]),
    Buffer.from('a\0b'),
    Buffer.from('\u2028"\\\u0001'),
    Buffer.from(random.many(random.below(200), () => random.below(256))),
  ]);
  return Buffer.concat([int32(bytes.length + 1), bytes, Buffer.from([0])]);
}

function element(type: number, name: Buffer, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type]), name, Buffer.from([0]), value]);
}

function wrapped(elements: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat(elements);
  return Buffer.concat([int32(bytes.length + 5), bytes, Buffer.from([0])]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
