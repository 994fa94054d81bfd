/** BSON documents that are being made, one behind the other, in memory that grows. */

const START_BYTES = 512;

export class Documents {
  bytes: Uint8Array;
  length: number;

  /** `behind`: they lie behind a copy of this. */
  constructor(behind?: Uint8Array) {
    this.length = behind?.length ?? 0;
    this.bytes = new Uint8Array(START_BYTES + this.length + (this.length >> 2));
    if (behind) this.bytes.set(behind);
  }

  copy(from: Uint8Array, start = 0, end = from.length): void {
    this.#room(end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }

  byte(value: number): void {
    this.#room(1);
    this.bytes[this.length++] = value;
  }

  /** The place of the length that `end` fills in. */
  begin(): number {
    this.#room(4);
    this.length += 4;
    return this.length - 4;
  }

  end(start: number): void {
    this.byte(0);
    const { bytes } = this;
    const size = this.length - start;
    bytes[start] = size;
    bytes[start + 1] = size >> 8;
    bytes[start + 2] = size >> 16;
    bytes[start + 3] = size >> 24;
  }

  #room(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const larger = new Uint8Array(needed * 2);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
}

/** An element's type and name; its value is to follow. */
export function putElement(to: Documents, type: number, name: Uint8Array): void {
  to.byte(type);
  to.copy(name);
  to.byte(0);
}
