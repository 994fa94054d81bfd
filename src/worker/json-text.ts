/**
 * The small writers behind JSON: integers, strings, dates, hex and base64 as bytes into `out` at `pos`; each returns the
 * new `pos`, and none looks for room: see `output.ts`.
 */
import { encodeText } from './bson.ts';
import { LITTLE_ENDIAN } from './output.ts';
import type { Output } from './output.ts';

/** "00" … "99", two bytes each. */
const decimalPairs = new Uint8Array(200);
/** "00" … "ff", two bytes each. */
const hexPairs = new Uint8Array(512);
const hexWords = new Uint16Array(hexPairs.buffer);
for (let n = 0; n < 100; n++) decimalPairs.set(encodeText(String(n).padStart(2, '0')), n * 2);
for (let n = 0; n < 256; n++) hexPairs.set(encodeText(n.toString(16).padStart(2, '0')), n * 2);

/** A whole number from 0 up to 2^53. */
export function putUnsigned(out: Output, pos: number, n: number): number {
  const to = out.bytes;
  if (n < 10) {
    to[pos] = 0x30 + n;
    return pos + 1;
  }
  if (n > 0x7fff_ffff) {
    if (n < 1e9 * 1e6) {
      const high = Math.floor(n / 1e6);
      pos = putUnsigned(out, pos, high);
      return putPadded(to, pos, (n - high * 1e6) | 0, 6);
    }
    const high = Math.floor(n / 1e9);
    pos = putUnsigned(out, pos, high);
    return putPadded(to, pos, n - high * 1e9, 9);
  }
  let rest = n | 0;
  const end = pos + digits(rest);
  let at = end;
  while (rest >= 100) {
    const high = (rest / 100) | 0;
    const pair = (rest - high * 100) << 1;
    at -= 2;
    to[at] = decimalPairs[pair]!;
    to[at + 1] = decimalPairs[pair + 1]!;
    rest = high;
  }
  if (rest >= 10) {
    to[at - 2] = decimalPairs[rest << 1]!;
    to[at - 1] = decimalPairs[(rest << 1) + 1]!;
  } else to[at - 1] = 0x30 + rest;
  return end;
}

function digits(n: number): number {
  if (n < 10_000) return n < 100 ? (n < 10 ? 1 : 2) : n < 1000 ? 3 : 4;
  if (n < 100_000_000) return n < 1_000_000 ? (n < 100_000 ? 5 : 6) : n < 10_000_000 ? 7 : 8;
  return n < 1_000_000_000 ? 9 : 10;
}

/** Exactly `width` digits, zeros in front. */
function putPadded(to: Uint8Array, pos: number, n: number, width: number): number {
  let rest = n | 0;
  for (let at = pos + width - 1; at >= pos; at--) {
    const high = (rest / 10) | 0;
    to[at] = 0x30 + rest - high * 10;
    rest = high;
  }
  return pos + width;
}

export function putInt32(out: Output, pos: number, n: number): number {
  const to = out.bytes;
  if (n >= 0) return putUnsigned(out, pos, n);
  to[pos] = 0x2d;
  return putUnsigned(out, pos + 1, -n);
}

/** `high` and `low` are the two halves, as signed 32-bit numbers. */
export function putInt64(out: Output, pos: number, high: number, low: number): number {
  const to = out.bytes;
  if (high === low >> 31) return putInt32(out, pos, low);
  if (high >= -0x20_0000 && high < 0x20_0000) {
    const n = high * 4_294_967_296 + (low >>> 0);
    if (n >= 0) return putUnsigned(out, pos, n);
    to[pos] = 0x2d;
    return putUnsigned(out, pos + 1, -n);
  }
  return putAscii(out, pos, ((BigInt(high) << 32n) | BigInt(low >>> 0)).toString());
}

export function putAscii(out: Output, pos: number, text: string): number {
  const to = out.bytes;
  const length = text.length;
  for (let k = 0; k < length; k++) to[pos + k] = text.charCodeAt(k);
  return pos + length;
}

export function putHex(out: Output, pos: number, bytes: Uint8Array, at: number, length: number): number {
  const view = out.view;
  const end = pos + length * 2;
  if (end > view.byteLength) return end;
  for (let k = 0; k < length; k++) view.setUint16(pos + k * 2, hexWords[bytes[at + k]!]!, LITTLE_ENDIAN);
  return end;
}

const base64Alphabet = encodeText('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

export function putBase64(out: Output, pos: number, bytes: Uint8Array, at: number, end: number): number {
  const to = out.bytes;
  for (; at + 2 < end; at += 3, pos += 4) {
    const three = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    to[pos] = base64Alphabet[three >> 18]!;
    to[pos + 1] = base64Alphabet[(three >> 12) & 63]!;
    to[pos + 2] = base64Alphabet[(three >> 6) & 63]!;
    to[pos + 3] = base64Alphabet[three & 63]!;
  }
  if (at >= end) return pos;
  const second = at + 1 < end ? bytes[at + 1]! : 0;
  to[pos] = base64Alphabet[bytes[at]! >> 2]!;
  to[pos + 1] = base64Alphabet[((bytes[at]! & 3) << 4) | (second >> 4)]!;
  to[pos + 2] = at + 1 < end ? base64Alphabet[(second & 15) << 2]! : 0x3d;
  to[pos + 3] = 0x3d;
  return pos + 4;
}

const MS_PER_DAY = 86_400_000;
/** 9999-12-31T23:59:59.999Z: what relaxed Extended JSON still writes as text. */
export const LAST_TEXT_MS = 253_402_300_799_999;

/** Dates of one oplog crowd together, so the last day's text is kept. */
const dayText = new Uint8Array(10);
let dayCached = -1;

/** `ms` from 0 to `LAST_TEXT_MS`; milliseconds only where there are any, as js-bson writes it. */
export function putIsoDate(out: Output, pos: number, ms: number): number {
  const to = out.bytes;
  const day = Math.floor(ms / MS_PER_DAY) | 0;
  if (day !== dayCached) {
    putDay(day);
    dayCached = day;
  }
  for (let k = 0; k < 10; k++) to[pos + k] = dayText[k]!;
  const inDay = (ms - day * MS_PER_DAY) | 0;
  const seconds = (inDay / 1000) | 0;
  const minutes = (seconds / 60) | 0;
  const hours = (minutes / 60) | 0;
  to[pos + 10] = 0x54;
  putPair(to, pos + 11, hours);
  to[pos + 13] = 0x3a;
  putPair(to, pos + 14, minutes - hours * 60);
  to[pos + 16] = 0x3a;
  putPair(to, pos + 17, seconds - minutes * 60);
  const thousandths = inDay - seconds * 1000;
  if (thousandths === 0) {
    to[pos + 19] = 0x5a;
    return pos + 20;
  }
  const hundredths = (thousandths / 10) | 0;
  to[pos + 19] = 0x2e;
  putPair(to, pos + 20, hundredths);
  to[pos + 22] = 0x30 + thousandths - hundredths * 10;
  to[pos + 23] = 0x5a;
  return pos + 24;
}

function putPair(to: Uint8Array, pos: number, n: number): void {
  to[pos] = decimalPairs[n << 1]!;
  to[pos + 1] = decimalPairs[(n << 1) + 1]!;
}

/** Howard Hinnant's civil_from_days, for days since 1970. */
function putDay(day: number): void {
  const shifted = day + 719_468;
  const era = (shifted / 146_097) | 0;
  const inEra = shifted - era * 146_097;
  const yearOfEra = ((inEra - ((inEra / 1460) | 0) + ((inEra / 36_524) | 0) - ((inEra / 146_096) | 0)) / 365) | 0;
  const inYear = inEra - (365 * yearOfEra + ((yearOfEra / 4) | 0) - ((yearOfEra / 100) | 0));
  const fromMarch = ((5 * inYear + 2) / 153) | 0;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  putPadded(dayText, 0, yearOfEra + era * 400 + (month <= 2 ? 1 : 0), 4);
  dayText[4] = 0x2d;
  putPair(dayText, 5, month);
  dayText[7] = 0x2d;
  putPair(dayText, 8, inYear - (((153 * fromMarch + 2) / 5) | 0) + 1);
}

/** 1 for the bytes that stand for themselves inside a JSON string. */
export const plainInJson = new Uint8Array(256);
plainInJson.fill(1, 0x20, 0x80);
plainInJson[0x22] = 0;
plainInJson[0x5c] = 0;

const shortEscapes: Readonly<Record<number, number>> = {
  0x08: 0x62,
  0x09: 0x74,
  0x0a: 0x6e,
  0x0c: 0x66,
  0x0d: 0x72,
  0x22: 0x22,
  0x5c: 0x5c,
};

/** Whether none of four bytes has to be escaped, looked up or is the end: all from 0x20 to 0x7f, no quote, no backslash. */
export function plainWord(word: number): boolean {
  return (
    ((word | (word - 0x2020_2020) | ((word ^ 0x2222_2222) - 0x0101_0101) | ((word ^ 0x5c5c_5c5c) - 0x0101_0101)) &
      0x8080_8080) ===
    0
  );
}

/** The inside of a JSON string: check and copy in one loop. What is not UTF-8 becomes U+FFFD, so output always is. */
export function putText(out: Output, pos: number, bytes: Uint8Array, at: number, end: number): number {
  const to = out.bytes;
  while (at < end) {
    const c = bytes[at]!;
    if (plainInJson[c] === 1) {
      to[pos++] = c;
      at++;
    } else if (c < 0x80) {
      pos = putEscape(out, pos, c);
      at++;
    } else {
      const length = sequenceLength(bytes, at, end);
      if (length > 0) {
        to[pos++] = c;
        for (let k = 1; k < length; k++) to[pos++] = bytes[at + k]!;
        at += length;
      } else {
        to[pos] = 0xef;
        to[pos + 1] = 0xbf;
        to[pos + 2] = 0xbd;
        pos += 3;
        at -= length;
      }
    }
  }
  return pos;
}

function putEscape(out: Output, pos: number, c: number): number {
  const to = out.bytes;
  to[pos] = 0x5c;
  const short = shortEscapes[c];
  if (short !== undefined) {
    to[pos + 1] = short;
    return pos + 2;
  }
  to[pos + 1] = 0x75;
  to[pos + 2] = 0x30;
  to[pos + 3] = 0x30;
  to[pos + 4] = hexPairs[c << 1]!;
  to[pos + 5] = hexPairs[(c << 1) + 1]!;
  return pos + 6;
}

/** The bytes of the UTF-8 sequence at `at`; where there is none, minus the bytes that one U+FFFD replaces. */
function sequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at]!;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  // The second byte's range keeps out overlong forms, surrogates and what lies beyond U+10FFFF.
  const from = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const to = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (at + 1 >= end || bytes[at + 1]! < from || bytes[at + 1]! > to) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (let k = 2; k < length; k++) if (at + k >= end || (bytes[at + k]! & 0xc0) !== 0x80) return -k;
  return length;
}
