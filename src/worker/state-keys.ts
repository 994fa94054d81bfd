/**
 * Under what the last state of a document is kept: its collection's UUID and the bytes of its `_id`, as it lies in the document, or
 * the hash of them where they are long. Two documents never share one, and what a dropped collection left is never taken for another's.
 */
import { createHash } from 'node:crypto';

/** With which each key begins. */
export const UUID_BYTES = 16;
/** Longer ones are hashed; no key may be longer than LMDB takes. */
const MOST_BYTES = 200;
/** In the place of a BSON type, and none: what follows is a hash. */
const HASHED = 0;

/** `uuid`: the place of the sixteen bytes; `id`: that of the element's type, `value` … `end - 1` that of its value. */
export interface KeyPlaces {
  readonly uuid: Uint8Array;
  readonly id: number;
  readonly value: number;
  readonly end: number;
}

export function stateKey(bytes: Uint8Array, { uuid, id, value, end }: KeyPlaces): Buffer {
  const length = end - value;
  if (length > MOST_BYTES) {
    const hash = createHash('sha256')
      .update(bytes.subarray(id, id + 1))
      .update(bytes.subarray(value, end))
      .digest();
    const key = Buffer.allocUnsafe(UUID_BYTES + 1 + hash.length);
    key.set(uuid);
    key[UUID_BYTES] = HASHED;
    key.set(hash, UUID_BYTES + 1);
    return key;
  }
  const key = Buffer.allocUnsafe(UUID_BYTES + 1 + length);
  key.set(uuid);
  key[UUID_BYTES] = bytes[id]!;
  key.set(bytes.subarray(value, end), UUID_BYTES + 1);
  return key;
}

/** All keys of one collection lie from the first of these to before the second. */
export function keysOf(uuid: Uint8Array): { readonly start: Buffer; readonly end: Buffer } {
  return { start: Buffer.from(uuid), end: Buffer.concat([uuid, Buffer.alloc(MOST_BYTES + 2, 0xff)]) };
}
