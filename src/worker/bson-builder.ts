/**
 * Puts a small BSON document together, element by element, for what no hot path needs: commands, paths. Values that came as
 * BSON are copied as they are, never decoded.
 */
import { BsonType, encodeText, nameEnd, valueEnd } from './bson.ts';

export class BsonBuilder {
  #bytes = new Uint8Array(512);
  #length = 4;
  /** Where the documents begin that are open, the outermost first. */
  readonly #open = [0];

  /** An element as it stands in `from`, name and all: `at` is the place of its type. */
  element(from: Uint8Array, at: number, end: number): this {
    this.#append(from.subarray(at, end));
    return this;
  }

  /** A value out of `from`, under another name. */
  value(name: string, from: Uint8Array, { type, at, last }: { type: number; at: number; last: number }): this {
    this.#name(type, name);
    this.#append(from.subarray(at, valueEnd(from, type, at, last)));
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
    this.#append(bytes);
    this.#append(zero);
    return this;
  }

  int32(name: string, n: number): this {
    this.#name(BsonType.int32, name);
    this.#int32(n);
    return this;
  }

  /** Opens a document or an array inside this one, until `end`. */
  begin(type: number, name: string): this {
    this.#name(type, name);
    this.#open.push(this.#length);
    this.#int32(0);
    return this;
  }

  end(): this {
    const start = this.#open.pop()!;
    this.#append(zero);
    new DataView(this.#bytes.buffer).setInt32(start, this.#length - start, true);
    return this;
  }

  /** Closes all; the builder is of no more use then. */
  finish(): Uint8Array {
    while (this.#open.length > 0) this.end();
    return this.#bytes.subarray(0, this.#length);
  }

  #name(type: number, name: string): void {
    this.#append(Uint8Array.of(type));
    this.#append(encodeText(name));
    this.#append(zero);
  }

  #int32(n: number): void {
    this.#append(Uint8Array.of(n, n >> 8, n >> 16, n >> 24));
  }

  #append(bytes: Uint8Array): void {
    const end = this.#length + bytes.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(end * 2);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }
}

const zero = Uint8Array.of(0);
