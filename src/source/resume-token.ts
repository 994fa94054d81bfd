/**
 * What a change stream's resume token says of its place. `_data` is hexadecimal of the server's order-preserving encoding:
 *
 *     82 seconds(4) increment(4) · version · tokenType · txnOpIndex · fromInvalidate · …
 *
 * (what the event was about follows, and in tokens of version 2 the number of a fragment; neither matters here). Numbers are
 * 29 for zero, otherwise 2a + n and n bytes that hold twice the number; 6e and 6f are false and true. Token type 0 is a high-water
 * mark, which stands before every event of its time; 128 is an event. `txnOpIndex` counts the operations of its oplog entry,
 * unmatched ones included: the index of our event ids.
 */
import { deserialize } from 'bson';
import type { OpTime, ResumePoint, StreamToken, Ts } from './position.ts';

/** Filled again and again, so that reading an event's token allocates nothing. */
export interface TokenPlace {
  seconds: number;
  increment: number;
  /** An event; otherwise a high-water mark. */
  event: boolean;
  /** Of the operation inside its oplog entry. */
  index: number;
  fromInvalidate: boolean;
}

const TIMESTAMP = 0x82;
const ZERO = 0x29;
const BEFORE_ONE_BYTE = 0x2a;
const FALSE = 0x6e;
const TRUE = 0x6f;
const EVENT = 128;
/** The index is a 64-bit number in the encoding; one of six bytes is far beyond what an entry can hold. */
const MAX_NUMBER_BYTES = 6;

const nibbles = new Int8Array(256).fill(-1);
for (let n = 0; n < 16; n++) {
  nibbles[n.toString(16).charCodeAt(0)] = n;
  nibbles[n.toString(16).toUpperCase().charCodeAt(0)] = n;
}

/** `bytes` holds the hexadecimal text from `start` to `end - 1`. False where it is no token of a known form; `place` is then of no use. */
export function readResumeToken(place: TokenPlace, bytes: Uint8Array, start: number, end: number): boolean {
  if (byteAt(bytes, start, end) !== TIMESTAMP) return false;
  let at = start + 2;
  let number = 0;
  for (let n = 0; n < 2; n++) {
    number = 0;
    for (let k = 0; k < 4; k++, at += 2) {
      const byte = byteAt(bytes, at, end);
      if (byte < 0) return false;
      number = number * 256 + byte;
    }
    if (n === 0) place.seconds = number;
    else place.increment = number;
  }
  for (let field = 0; field < 3; field++) {
    const kind = byteAt(bytes, at, end);
    at += 2;
    let doubled = 0;
    if (kind !== ZERO) {
      const length = kind - BEFORE_ONE_BYTE;
      if (length < 1 || length > MAX_NUMBER_BYTES) return false;
      for (let k = 0; k < length; k++, at += 2) {
        const byte = byteAt(bytes, at, end);
        if (byte < 0) return false;
        doubled = doubled * 256 + byte;
      }
    }
    number = Math.floor(doubled / 2);
    // Tokens before version 1 have no type; no server that is read here writes them.
    if (field === 0 && number < 1) return false;
    if (field === 1) place.event = number === EVENT;
    if (field === 2) place.index = number;
  }
  const flag = byteAt(bytes, at, end);
  place.fromInvalidate = flag === TRUE;
  return flag === TRUE || flag === FALSE;
}

/** -1 where there is none. */
function byteAt(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end) return -1;
  const high = nibbles[bytes[at]!]!;
  const low = nibbles[bytes[at + 1]!]!;
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/** Undefined where it is no token of a known form. */
export function parseResumeToken(data: string): TokenPlace | undefined {
  const place = emptyPlace();
  const bytes = Buffer.from(data, 'latin1');
  return readResumeToken(place, bytes, 0, bytes.length) ? place : undefined;
}

export function emptyPlace(): TokenPlace {
  return { seconds: 0, increment: 0, event: false, index: 0, fromInvalidate: false };
}

/** The place that a token's document (an event's `_id`, or `postBatchResumeToken`) stands for, with the token. */
export function opTimeOfToken(document: Uint8Array, watch: string): OpTime & { readonly token: StreamToken } {
  const { _data: data, _typeBits: typeBits } = deserialize(document, { promoteBuffers: true, bsonRegExp: true });
  const place = typeof data === 'string' ? parseResumeToken(data) : undefined;
  if (place === undefined) throw new Error(`a resume token of a form that is not known: ${JSON.stringify(data)}`);
  const { seconds, increment, event, index } = place;
  return {
    ts: { seconds, increment },
    t: -1,
    token: {
      data: data as string,
      ...(typeBits instanceof Uint8Array && { typeBits: Buffer.from(typeBits).toString('base64') }),
      index: event ? index : -1,
      watch,
    },
  };
}

/** Of an event that nothing else could read; undefined where its token cannot be read either. */
export function placeOfEvent(event: Uint8Array): { readonly ts: Ts; readonly index: number } | undefined {
  try {
    const { _id: id } = deserialize(event);
    const place = typeof id?._data === 'string' ? parseResumeToken(id._data) : undefined;
    return place && { ts: { seconds: place.seconds, increment: place.increment }, index: place.index };
  } catch {
    return undefined;
  }
}

/** Where a source of this mode goes on from a point that either mode may have left; `watch` is undefined for the oplog. */
export function adaptedTo(watch: string | undefined, point: ResumePoint): ResumePoint {
  switch (point.kind) {
    case 'token':
      return point.token.watch === watch ? point : fromTs(point.ts);
    case 'after':
      return watch === undefined ? point : fromTs(point.ts);
    case 'from':
      return point;
  }
}

/**
 * Whether lanes that were ahead of `point` say what is done: not for what only another `watch` shows. Where a subscription wants nothing
 * but what was watched, there is no such thing.
 */
export function lanesHold(watch: string | undefined, point: ResumePoint, wanted: readonly string[]): boolean {
  if (point.kind !== 'token') return true;
  const { watch: watched } = point.token;
  if (watched === (watch ?? 'deployment') || watched === 'deployment') return true;
  return wanted.every((pattern) => pattern.startsWith('!') || pattern === watched || pattern.startsWith(`${watched}.`));
}

/** What was done at that very time is told apart by floors, not by the boundary. */
function fromTs(ts: Ts): ResumePoint {
  return { kind: 'from', ts };
}
