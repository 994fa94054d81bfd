/** A BSON document under construction, off the hot path: it makes room for itself as it grows. */
import { BsonType, encodeText } from './bson.ts';

export class BsonOut {
  bytes = new Uint8Array(4096);
  pos = 0;

  /** The document as it is now; valid until something else is written. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.pos);
  }

  /** Opens a document; what is returned closes it. */
  begin(): number {
    this.#room(4);
    this.pos += 4;
    return this.pos - 4;
  }

  end(start: number): void {
    this.#room(1);
    this.bytes[this.pos++] = 0;
    this.#int32(start, this.pos - start);
  }

  copy(bytes: Uint8Array, from: number, to: number): void {
    this.#room(to - from);
    this.bytes.set(bytes.subarray(from, to), this.pos);
    this.pos += to - from;
  }

  /** An element's type and name; the name's bytes as they are, without the closing zero. */
  element(type: number, name: Uint8Array): void {
    this.#room(name.length + 2);
    this.bytes[this.pos] = type;
    this.bytes.set(name, this.pos + 1);
    this.pos += name.length + 2;
    this.bytes[this.pos - 1] = 0;
  }

  string(name: Uint8Array, text: string): void {
    const bytes = encodeText(text);
    this.element(BsonType.string, name);
    this.#room(bytes.length + 5);
    this.#int32(this.pos, bytes.length + 1);
    this.bytes.set(bytes, this.pos + 4);
    this.pos += bytes.length + 5;
    this.bytes[this.pos - 1] = 0;
  }

  #int32(at: number, n: number): void {
    const { bytes } = this;
    bytes[at] = n;
    bytes[at + 1] = n >> 8;
    bytes[at + 2] = n >> 16;
    bytes[at + 3] = n >> 24;
  }

  #room(more: number): void {
    if (this.pos + more <= this.bytes.length) return;
    const larger = new Uint8Array((this.pos + more) * 2);
    larger.set(this.bytes.subarray(0, this.pos));
    this.bytes = larger;
  }
}
