/**
 * Where encoded bytes go: one growing buffer seen as bytes and as words. Writers take an `Output` and a position, never look
 * for room, and return the new position: a byte stored behind the end is dropped, words there are not stored at all. So
 * the caller looks once, at a whole event's end: past `length - SLACK` it grows the output and writes the event again.
 */
import { encodeText } from './bson.ts';

/** How this machine, and so a typed array of words, orders bytes. */
export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Words are stored whole, up to this many bytes past what they say. */
export const SLACK = 8;

/** What is grown is kept: half as much again of a giant would lie about in each thread. */
const MOST_MORE_BYTES = 4 * 2 ** 20;

/** Places are 32-bit numbers with a sign: in tables, and where the module gives them to JavaScript. */
const MOST_BYTES = 2 ** 31 - 65_536;

export class Output {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  readonly #most: number;

  /** `most`: for tests, which cannot write two gigabytes. */
  constructor(length: number, most = MOST_BYTES) {
    this.#most = most;
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Room for `needed` bytes, keeping the first `used`. */
  grow(needed: number, used: number): void {
    const larger = new Uint8Array(this.withMore(needed + SLACK, Math.min(needed / 2, MOST_MORE_BYTES)));
    larger.set(this.bytes.subarray(0, used));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }

  /** So many bytes and some more, or as many more as there may be. */
  protected withMore(needed: number, more: number): number {
    if (needed > this.#most) {
      throw new RangeError(
        `a batch's events take ${needed} bytes or more, and a worker writes at most ${this.#most} at once; fewer entries fit`,
      );
    }
    return Math.min(Math.ceil(needed + more), this.#most);
  }
}

/** Constant bytes, cut into words of eight: four times as fast to write as byte by byte. */
export interface Words {
  readonly length: number;
  /** Only ever moved, never calculated with; UTF-8 and BSON's small numbers never look like a NaN, which could change. */
  readonly words: Float64Array;
}

export function wordsOf(bytes: Uint8Array): Words {
  const padded = new Uint8Array((bytes.length + 7) & ~7);
  padded.set(bytes);
  return { length: bytes.length, words: new Float64Array(padded.buffer) };
}

export function textWords(text: string): Words {
  return wordsOf(encodeText(text));
}

export function put(out: Output, pos: number, { length, words }: Words): number {
  const view = out.view;
  if (pos + length + SLACK <= view.byteLength) {
    for (let k = 0; k < words.length; k++) view.setFloat64(pos + (k << 3), words[k]!, LITTLE_ENDIAN);
  }
  return pos + length;
}

/** Of the room that came with a batch; what is so much less than it goes into a buffer of its own. */
const MOST_WASTE = 4;

/**
 * Without room `slice` is the cheapest way: no zeros are written first, unlike with a new buffer. A little in a large room would hold
 * the whole of it until it is delivered, while the budget counts the little.
 */
export function copyTo(room: ArrayBuffer | undefined, written: Uint8Array, length: number): Uint8Array {
  if (room === undefined || room.byteLength < length || room.byteLength > length * MOST_WASTE) {
    return written.slice(0, length);
  }
  const copy = new Uint8Array(room, 0, length);
  copy.set(written.subarray(0, length));
  return copy;
}
