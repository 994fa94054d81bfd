/**
 * Oplog entries from a seed, byte by byte: what js-bson cannot write, and servers store. Types that are long out of use, text that is
 * no UTF-8, fields of the same name, documents as deep as they may be and deeper, diffs of every form and of forms that do not
 * exist. Most of it is well-formed; numbers, lengths and names are drawn from what lies at a limit of the code that reads them.
 */
import type { Random } from './damage.ts';

const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

const FRAGMENTS = [
  ...'a " \\ \n / < é ☃ 😀 0123456789abcde 0123456789abcdef 0123456789abcdef0'.split(' '),
  ...'\b\f\r\t \u0001 \u001f \u007f \u2028 \uffff \u{10ffff}'.split(' '),
  'hello world, this is plain text',
].map(ascii);
/** Overlong, cut short, surrogates, beyond Unicode, or no beginning at all. */
const NOT_UTF8 = '80 c080 c1bf e08080 eda080 edbfbf f4908080 f5 ff fe e298 f09f98 f09f e2 c3 f888808080 eda0bdedb880'
  .split(' ')
  .map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));
const NAMES = [
  ...'a u l s d i b s0 u0 l1 0 10 007 x.y $set diff $v _id o o2 . .. $ref $date'.split(' '),
  ...'__proto__ constructor _bsontype \u2028 " \\ \n é☃ 0123456789abcde 0123456789abcdef 0123456789abcdefg'.split(' '),
  '',
].map(ascii);
const PLACES = ['0', '1', '2', '3', '4', '12', '30', '007', '4294967296', '99999999999999999999'];
const NO_PLACES = ['', 'x', '1x', '1.2', '-1'];
const DOUBLES = [
  [0, -0, 1, -1, Number.NaN, Infinity, -Infinity, 5e-324, 1.7976931348623157e308],
  [0.1, 0.1 + 0.2, 1 / 3, 1e-7, -0.001, 1.005, 8.325, 2 ** 53, 2 ** 63, 1e20, 1e21, -1e21],
  [4e7, 42_949_672.95, 42_949_672.96, 1e13, 1e13 - 0.01, 9_999_999_999_999.98],
].flat();
const LONGS = [
  [0n, -1n, 9n, 10n, 99n, 100n, 999n, 1000n, 99_999n, 100_000n, 99_999_999n, 100_000_000n, 9_999_999_900_000_000n],
  [31n, 32n, 53n, 63n].flatMap((bits) => [2n ** bits - 1n, 2n ** bits, -(2n ** bits), -(2n ** bits) - 1n]),
].flat();
const DATES = [
  [0n, -1n, 253_402_300_799_999n, 253_402_300_800_000n, 86_399_999n, 86_400_000n, 951_782_400_000n, 4_107_542_400_000n],
  [-62_135_596_800_000n, 1_700_000_000_123n, 1_700_000_000_000n, 1_700_000_000_010n, 1_700_000_000_100n],
].flat();
/** From 500 levels on, what holds the value counted, it is too deep. */
const DEPTHS = [20, 497, 498, 499, 500, 501, 502];

const UNKNOWN_TYPES = [0, 20, 0x61, 0x75, 128];
const NONE = new Uint8Array(0);
const ZERO = new Uint8Array(1);

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function int32(n: number): Uint8Array {
  return new Uint8Array(Int32Array.of(n).buffer);
}

function int64(n: bigint): Uint8Array {
  return new Uint8Array(BigInt64Array.of(BigInt.asIntN(64, n)).buffer);
}

function double(n: number): Uint8Array {
  return new Uint8Array(Float64Array.of(n).buffer);
}

function string(text: Uint8Array): Uint8Array {
  return joined(int32(text.length + 1), text, ZERO);
}

function binary(subType: number, data: Uint8Array): Uint8Array {
  return joined(int32(data.length), Uint8Array.of(subType), data);
}

function element(type: number, name: Uint8Array | string, value: Uint8Array): Uint8Array {
  return joined(Uint8Array.of(type), typeof name === 'string' ? ascii(name) : name, ZERO, value);
}

function documentOf(...elements: readonly Uint8Array[]): Uint8Array {
  const inside = joined(...elements);
  return joined(int32(inside.length + 5), inside, ZERO);
}

type Value = readonly [type: number, bytes: Uint8Array];

export class RawBson {
  readonly #random: Random;
  #increment = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** An operation by itself, or several that a transaction made. */
  entry(): Uint8Array {
    if (this.#mostly(8)) return documentOf(...this.#operation(), ...this.#head());
    const session = documentOf(
      element(5, 'id', binary(4, new Uint8Array(16).fill(3))),
      element(5, 'uid', binary(0, new Uint8Array(32).fill(3))),
    );
    const operations = this.#times(1 + this.#below(4), (k) => element(3, String(k), documentOf(...this.#operation())));
    return documentOf(
      element(2, 'op', string(ascii('c'))),
      element(2, 'ns', string(ascii('admin.$cmd'))),
      element(3, 'lsid', this.#mostly(5) ? session : this.#document(2)),
      element(18, 'txnNumber', int64(this.#of(LONGS))),
      element(3, 'o', documentOf(element(4, 'applyOps', documentOf(...operations)))),
      ...this.#head(),
    );
  }

  #below(below: number): number {
    return this.#random.below(below);
  }

  #of<T>(list: readonly T[]): T {
    return this.#random.of(list);
  }

  /** But for one time in so many. */
  #mostly(times: number): boolean {
    return this.#below(times) > 0;
  }

  #times<T>(count: number, make: (k: number) => T): T[] {
    return Array.from({ length: count }, (_, k) => make(k));
  }

  #bytes(length: number): Uint8Array {
    return new Uint8Array(this.#times(length, () => this.#below(256)));
  }

  /** Between other pieces some that are no UTF-8, and zeros where they may stand. */
  #text(zeros: boolean): Uint8Array {
    const pieces = this.#below(this.#mostly(4) ? 5 : 40);
    const text = joined(
      ...this.#times(pieces, () => {
        const what = this.#below(12);
        if (what < 7) return this.#of(FRAGMENTS);
        if (what < 9) return this.#of(NOT_UTF8);
        if (what < 10) return new Uint8Array(this.#below(40)).fill(0x78);
        return what < 11 ? this.#bytes(this.#below(8)) : ZERO;
      }),
    );
    return zeros ? text : text.filter((byte) => byte !== 0);
  }

  #name(): Uint8Array {
    if (this.#mostly(5)) return this.#of(NAMES);
    return this.#mostly(30)
      ? this.#text(false)
      : new Uint8Array(this.#below(900)).fill(this.#of([0x78, 1, 0x22, 0xc3]));
  }

  #value(depth: number): Value {
    // Too deep for more of it.
    const kinds = depth > 4 ? 25 : 31;
    switch (this.#below(kinds)) {
      case 0:
      case 1:
        return [2, string(this.#text(true))];
      case 2:
        return [16, this.#bytes(4)];
      case 3:
        return [16, int32(Number(BigInt.asIntN(32, this.#of(LONGS))))];
      case 4:
        return [18, int64(this.#of(LONGS))];
      case 5:
        return [18, this.#bytes(8)];
      case 6:
        return [1, double(this.#of(DOUBLES))];
      case 7:
        return [1, this.#bytes(8)];
      case 8:
        return [1, double((this.#of([1, -1]) * this.#below(2 ** 32) * this.#of([1, 10, 2300])) / 100)];
      case 9:
        return [9, int64(this.#of(DATES))];
      case 10:
        return [9, int64(BigInt(this.#below(253_402)) * 1_000_000_000n + BigInt(this.#below(1_000_000_000)))];
      case 11:
        return [8, Uint8Array.of(this.#mostly(60) ? this.#below(2) : 2)];
      case 12:
        return [this.#of([6, 10, 127, 255]), NONE];
      case 13:
        return [7, this.#bytes(12)];
      case 14:
        return [5, this.#binary()];
      case 15:
        return [17, this.#bytes(8)];
      case 16:
        return [11, joined(this.#text(false), ZERO, this.#text(false), ZERO)];
      case 17:
        return [12, joined(string(this.#text(true)), this.#bytes(12))];
      case 18:
      case 19:
        return [this.#of([13, 14]), string(this.#text(true))];
      case 20: {
        const inside = joined(string(this.#text(true)), this.#document(depth + 1));
        return [15, joined(int32(inside.length + 4), inside)];
      }
      case 21:
        return [19, this.#bytes(16)];
      case 22:
        return this.#mostly(40) ? [10, NONE] : [this.#of(UNKNOWN_TYPES), this.#bytes(this.#below(4))];
      case 23:
        return [2, string(new Uint8Array(this.#below(300)).fill(0x79))];
      case 24:
        return this.#mostly(20) ? [16, int32(7)] : this.#deep();
      case 25:
      case 26:
      case 27:
        return [3, this.#document(depth + 1)];
      default:
        return [4, this.#array(depth + 1)];
    }
  }

  /** Subtype 2 says its length twice, as a rule. */
  #binary(): Uint8Array {
    const subType = this.#of([0, 1, 2, 2, 2, 3, 4, 5, 6, 128, 255]);
    const data = this.#bytes(this.#below(60));
    if (subType !== 2 || !this.#mostly(3)) return binary(subType, data);
    return binary(subType, joined(int32(this.#mostly(5) ? data.length : data.length + 1), data));
  }

  #deep(): Value {
    let value: Value = [16, this.#bytes(4)];
    for (let levels = this.#of(DEPTHS); levels > 0; levels--) {
      value = [this.#of([3, 4]), documentOf(element(value[0], this.#of(['0', 'n']), value[1]))];
    }
    return value;
  }

  #field(depth: number, name: Uint8Array | string = this.#name()): Uint8Array {
    const [type, bytes] = this.#value(depth);
    return element(type, name, bytes);
  }

  #fields(most: number, depth = 0): Uint8Array[] {
    return this.#times(this.#below(most), () => this.#field(depth));
  }

  #document(depth: number): Uint8Array {
    return documentOf(...this.#fields(4, depth));
  }

  /** Its places have the names that they should, as a rule. */
  #array(depth: number): Uint8Array {
    return documentOf(
      ...this.#times(this.#below(5), (k) => this.#field(depth, this.#mostly(4) ? String(k) : this.#name())),
    );
  }

  #removals(): Uint8Array {
    return documentOf(
      ...this.#times(this.#below(4), () => (this.#mostly(4) ? element(8, this.#name(), ZERO) : this.#field(3))),
    );
  }

  #place(): string {
    return this.#of(this.#mostly(30) ? PLACES : NO_PLACES);
  }

  #arrayDiff(depth: number): Uint8Array {
    return documentOf(
      element(8, 'a', Uint8Array.of(this.#mostly(30) ? 1 : this.#below(256))),
      ...this.#times(this.#below(5), () => {
        const what = this.#below(20);
        if (what < 3) return element(16, 'l', int32(this.#of(this.#mostly(10) ? [0, 1, 5, 0x7fff_ffff] : [-1])));
        if (what < 4) return this.#of([element(18, 'l', int64(3n)), element(1, 'l', double(2)), this.#field(1, 'u0')]);
        if (what < 8 && depth < 5) return element(3, `s${this.#place()}`, this.#diff(depth + 1));
        if (what > 18 && !this.#mostly(5)) return this.#field(2, this.#of(['lx', 'd', 'i', 'b', 'a', 's', 'u', '']));
        return this.#field(1, `u${this.#place()}`);
      }),
    );
  }

  #diff(depth: number): Uint8Array {
    if (depth > 0 && !this.#mostly(3)) return this.#arrayDiff(depth);
    return documentOf(
      ...this.#times(this.#below(5), () => {
        const what = this.#below(30);
        if (what < 9) return element(3, this.#of(['u', 'i']), this.#document(1));
        if (what < 14) return element(3, 'd', this.#removals());
        if (what < 26 && depth < 6) return element(3, joined(ascii('s'), this.#name()), this.#diff(depth + 1));
        if (what > 27 && !this.#mostly(5)) return this.#field(2, this.#of(['u', 'i', 'd', 'sx', 'a', 'b', 'x', '']));
        return element(3, 'u', this.#document(2));
      }),
    );
  }

  /** What an update's `o` holds, in the form that servers write now as a rule. */
  #update(): Uint8Array {
    const diff = element(3, 'diff', this.#diff(0));
    switch (this.#below(20)) {
      case 0:
        return documentOf(
          element(16, '$v', int32(1)),
          element(3, '$set', this.#document(1)),
          element(3, '$unset', this.#removals()),
        );
      case 1:
        return documentOf(element(18, '$v', int64(2n)), diff);
      case 2:
        return documentOf(element(16, '$v', int32(2)), diff, element(3, 'diff', this.#diff(0)));
      default:
        return documentOf(element(16, '$v', int32(2)), diff);
    }
  }

  /** Its `_id` need not come first, and may be missing. */
  #key(): Uint8Array {
    return this.#mostly(30) ? documentOf(...this.#aside(), this.#field(2, '_id'), ...this.#aside()) : documentOf();
  }

  #aside(): Uint8Array[] {
    return this.#mostly(6) ? [] : [this.#field(3)];
  }

  #whole(): Uint8Array {
    return documentOf(...(this.#mostly(4) ? [this.#field(3, '_id')] : []), ...this.#fields(8));
  }

  #operation(): Uint8Array[] {
    const kind = this.#of(['insert', 'update', 'update', 'update', 'replace', 'delete']);
    const ns = this.#mostly(8)
      ? ascii(this.#of(['shop.orders', 'shop.x"y', 'shop.é']))
      : joined(ascii('shop.c'), this.#text(false));
    const uuid = binary(4, this.#mostly(9) ? new Uint8Array(16).fill(7) : this.#bytes(this.#below(30)));
    const of = (letter: string, ...elements: Uint8Array[]): Uint8Array[] => [
      element(2, 'op', string(ascii(letter))),
      element(2, 'ns', string(ns)),
      ...(this.#mostly(4) ? [element(5, 'ui', uuid)] : []),
      ...elements,
    ];
    switch (kind) {
      case 'insert':
        return of('i', element(3, 'o', this.#whole()), ...(this.#mostly(3) ? [element(3, 'o2', this.#key())] : []));
      case 'update':
        return of('u', element(3, 'o', this.#update()), element(3, 'o2', this.#key()));
      case 'replace':
        return of('u', element(3, 'o', this.#whole()), element(3, 'o2', this.#key()));
      default:
        return of('d', element(3, 'o', this.#key()));
    }
  }

  #head(): Uint8Array[] {
    const increment = this.#of([0, 1, 0xffff_ffff, ++this.#increment]);
    const seconds = this.#of([1_795_327_615, 1_795_327_615, 0xffff_ffff, 0]);
    return [
      element(17, 'ts', joined(int32(increment), int32(seconds))),
      element(18, 't', int64(3n)),
      element(18, 'v', int64(2n)),
      ...(this.#mostly(8) ? [element(9, 'wall', int64(this.#mostly(3) ? 1_795_327_615_756n : this.#of(DATES)))] : []),
    ];
  }
}
