/**
 * The key of a parked event: its subscription, then its id taken apart, so that LMDB keeps events in oplog order (as
 * text, `…:9.2.0` would come behind `…:10.1.0`). LMDB's keys end at 1,978 bytes and hold no NUL; a part that does not fit
 * is replaced by its hash, which is as unique, only not in order.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';

const MAX_PART_BYTES = 600;

export type ParkedKey = (string | number)[];

/** Of what comes from outside, or out of LMDB. */
export const parkedKeySchema = z
  .array(z.union([z.string().max(MAX_PART_BYTES), z.number()]))
  .min(2)
  .max(6);

const EVENT_ID = /^(.*):(\d+)\.(\d+)\.(\d+)$/s;

export function parkedKey(subscription: string, id: string): ParkedKey {
  const parts = EVENT_ID.exec(id);
  if (parts === null) return [part(subscription), part(id)];
  const [, source = '', seconds, increment, index] = parts;
  return [part(subscription), part(source), Number(seconds), Number(increment), Number(index)];
}

/** Of a whole entry, where an operation of it that was set aside alone has its key already. */
export function keyBeside(key: ParkedKey): ParkedKey {
  return [...key, 'whole'];
}

/** All keys of one subscription. */
export function subscriptionRange(subscription: string): { readonly start: ParkedKey; readonly end: ParkedKey } {
  const key = part(subscription);
  return { start: [key], end: [key, '\u{10ffff}'] };
}

function part(text: string): string {
  const plain = Buffer.byteLength(text) <= MAX_PART_BYTES && !text.includes('\0');
  return plain ? text : `#${createHash('sha256').update(text).digest('hex')}`;
}
