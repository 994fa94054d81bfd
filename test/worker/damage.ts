/**
 * Damage of every kind to an oplog entry's bytes, from a seed: single bytes, lengths that lie, types that do not exist, parts
 * cut out, doubled, or taken from another entry. The entry's own length and closing zero are put right again: they
 * are the frame that keeps its neighbours apart.
 */

import { joinedBytes } from '../../src/worker/bson.ts';

/** Small, fast and the same everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 up to, but without, `below`. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0;
    let h = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    h ^= h + Math.imul(h ^ (h >>> 7), h | 61);
    return ((h ^ (h >>> 14)) >>> 0) % below;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

const LENGTHS = [0, 1, 3, 4, 5, 6, 12, 255, 65_535, 0x7fff_ffff, -1, -5, -2_147_483_648];
const TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 0x55, 0x7f, 0x80, 0xff];

type Damage = (random: Random, bytes: Uint8Array, others: readonly Uint8Array[]) => Uint8Array;

/** What leaves all lengths as they are gets deepest, so it is drawn more often. */
const inPlace: readonly Damage[] = [
  (random, bytes) => {
    bytes[place(random, bytes)] = random.below(256);
    return bytes;
  },
  (random, bytes) => {
    bytes[place(random, bytes)]! ^= 1 << random.below(8);
    return bytes;
  },
  (random, bytes) => {
    bytes[place(random, bytes)] = random.of(TYPES);
    return bytes;
  },
  (random, bytes) => {
    // Somewhere, or where a length stands already: behind a short name's zero.
    let at = place(random, bytes);
    while (random.below(4) > 0 && at < bytes.length - 5 && bytes[at - 1] !== 0) at++;
    if (at <= bytes.length - 4) new DataView(bytes.buffer).setInt32(at, near(random, bytes, at), true);
    return bytes;
  },
];
const outOfPlace: readonly Damage[] = [
  (random, bytes) => bytes.slice(0, place(random, bytes) + 1),
  (random, bytes) => {
    const from = place(random, bytes);
    const to = Math.min(bytes.length, from + 1 + random.below(20));
    return joinedBytes([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (random, bytes, others) => {
    const at = place(random, bytes);
    const other = random.of(others);
    const from = random.below(other.length);
    return joinedBytes([bytes.subarray(0, at), other.subarray(from, from + random.below(40)), bytes.subarray(at)]);
  },
  (random, bytes, others) => {
    const other = random.of(others);
    return joinedBytes([bytes.subarray(0, place(random, bytes)), other.subarray(random.below(other.length))]);
  },
];

export function damaged(random: Random, original: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(original);
  for (let times = random.below(3); times >= 0; times--) {
    bytes = random.of(random.below(4) === 0 ? outOfPlace : inPlace)(random, bytes, others);
    if (bytes.length < 6) bytes = joinedBytes([bytes, new Uint8Array(6 - bytes.length)]);
  }
  new DataView(bytes.buffer).setInt32(0, bytes.length, true);
  bytes[bytes.length - 1] = 0;
  return bytes;
}

function place(random: Random, bytes: Uint8Array): number {
  return 4 + random.below(bytes.length - 5);
}

function near(random: Random, bytes: Uint8Array, at: number): number {
  const length = new DataView(bytes.buffer).getInt32(at, true);
  return random.below(2) === 0 ? random.of(LENGTHS) : length + random.below(9) - 4;
}
