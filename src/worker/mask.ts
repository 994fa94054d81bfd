/**
 * What stands in a masked field's place: a constant, or a keyed hash, by which equal values stay recognizable as equal without
 * being told. A string is hashed as its text (UTF-8), so that others can compute the same; anything else as its BSON type
 * and bytes.
 */
import { createHmac } from 'node:crypto';
import type { MaskConfig } from '../config/config.ts';
import { BsonType, encodeText } from './bson.ts';
import type { BsonOut } from './bson-out.ts';

export type Mask = (out: BsonOut, name: Uint8Array, type: number, value: Uint8Array) => void;

export function compileMask(mask: MaskConfig): Mask {
  if (mask.kind === 'hash') {
    const { key, encoding } = mask;
    return (out, name, type, value) => {
      const hash = createHmac('sha256', key);
      if (type === BsonType.string) hash.update(value.subarray(4, -1));
      else hash.update(Uint8Array.of(type)).update(value);
      out.string(name, hash.digest(encoding));
    };
  }
  const constant = constantOf(mask.value);
  return (out, name) => {
    out.element(constant.type, name);
    out.copy(constant.bytes, 0, constant.bytes.length);
  };
}

function constantOf(value: string | number | boolean | null): { readonly type: number; readonly bytes: Uint8Array } {
  if (value === null) return { type: BsonType.null, bytes: new Uint8Array(0) };
  if (typeof value === 'boolean') return { type: BsonType.boolean, bytes: Uint8Array.of(value ? 1 : 0) };
  if (typeof value === 'number') {
    const whole = Number.isInteger(value) && Math.abs(value) < 2 ** 31;
    const bytes = Buffer.alloc(whole ? 4 : 8);
    if (whole) bytes.writeInt32LE(value);
    else bytes.writeDoubleLE(value);
    return { type: whole ? BsonType.int32 : BsonType.double, bytes };
  }
  const text = encodeText(value);
  const bytes = Buffer.alloc(text.length + 5);
  bytes.writeInt32LE(text.length + 1);
  bytes.set(text, 4);
  return { type: BsonType.string, bytes };
}
