/**
 * Puts a small BSON document together, element by element, for what no hot path needs: commands, paths. Values that came as
 * BSON are copied as they are, never decoded.
 */
import { BsonType, encodeText, nameEnd, valueEnd } from './bson.ts';
import type { Ts } from '../source/position.ts';
import { Documents, putElement } from './documents.ts';

export class BsonBuilder {
  readonly #to = new Documents();
  /** Where the documents begin that are open, the outermost first. */
  readonly #open = [this.#to.begin()];

  /** An element as it stands in `from`, name and all: `at` is the place of its type. */
  element(from: Uint8Array, at: number, end: number): this {
    this.#to.copy(from, at, end);
    return this;
  }

  /** A value out of `from`, under another name. */
  value(name: string, from: Uint8Array, { type, at, last }: { type: number; at: number; last: number }): this {
    this.#name(type, name);
    this.#to.copy(from, at, valueEnd(from, type, at, last));
    return this;
  }

  /** The elements of a document whose names are not in `except`. */
  fields(from: Uint8Array, start: number, last: number, except: readonly string[] = []): this {
    const names = except.map(encodeText);
    let at = start + 4;
    while (at < last) {
      const value = nameEnd(from, at + 1);
      const end = valueEnd(from, from[at]!, value, last);
      const length = value - at - 2;
      const left = names.some((name) => name.length === length && name.every((byte, k) => from[at + 1 + k] === byte));
      if (!left) this.element(from, at, end);
      at = end;
    }
    return this;
  }

  string(name: string, text: string): this {
    const bytes = encodeText(text);
    this.#name(BsonType.string, name);
    this.#int32(bytes.length + 1);
    this.#to.copy(bytes);
    this.#to.byte(0);
    return this;
  }

  int32(name: string, n: number): this {
    this.#name(BsonType.int32, name);
    this.#int32(n);
    return this;
  }

  timestamp(name: string, { seconds, increment }: Ts): this {
    this.#name(BsonType.timestamp, name);
    this.#int32(increment);
    this.#int32(seconds);
    return this;
  }

  /** Opens a document or an array inside this one, until `end`. */
  begin(type: number, name: string): this {
    this.#name(type, name);
    this.#open.push(this.#to.begin());
    return this;
  }

  end(): this {
    this.#to.end(this.#open.pop()!);
    return this;
  }

  /** Closes all; the builder is of no more use then. */
  finish(): Uint8Array {
    while (this.#open.length > 0) this.end();
    return this.#to.bytes.subarray(0, this.#to.length);
  }

  #name(type: number, name: string): void {
    putElement(this.#to, type, encodeText(name));
  }

  #int32(n: number): void {
    this.#to.copy(Uint8Array.of(n, n >> 8, n >> 16, n >> 24));
  }
}
