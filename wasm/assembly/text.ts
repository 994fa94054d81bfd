/** Text into the output: constants, the insides of JSON strings, hex and base64. Each function returns the place behind it. */
import { fail, needRoom, roomEnd } from './memory';

const HEX = i8x16(0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66);

/** By 12 bits: their two characters of base64. */
const base64Pairs = memory.data(4096 * 2);

/** By a byte below 0x80: the letter that escapes it in JSON, 0 where there is none. */
const shortEscapes = memory.data(128);

export function fillTextTables(): void {
  for (let n: u32 = 0; n < 4096; n++) {
    store<u16>(base64Pairs + n * 2, (base64Letter(n & 63) << 8) | base64Letter(n >> 6));
  }
  store<u8>(shortEscapes + 0x08, 0x62);
  store<u8>(shortEscapes + 0x09, 0x74);
  store<u8>(shortEscapes + 0x0a, 0x6e);
  store<u8>(shortEscapes + 0x0c, 0x66);
  store<u8>(shortEscapes + 0x0d, 0x72);
  store<u8>(shortEscapes + 0x22, 0x22);
  store<u8>(shortEscapes + 0x5c, 0x5c);
}

function base64Letter(n: u32): u32 {
  if (n < 26) return 0x41 + n;
  if (n < 52) return 0x61 + n - 26;
  if (n < 62) return 0x30 + n - 52;
  return n == 62 ? 0x2b : 0x2f;
}

/** A constant, of characters below 0x100. Blocks are stored whole. */
export function put(pos: usize, text: string): usize {
  const from = changetype<usize>(text);
  const length = <usize>text.length;
  for (let k: usize = 0; k < length; k += 16) {
    v128.store(pos + k, i8x16.narrow_i16x8_u(v128.load(from + k * 2), v128.load(from + k * 2 + 16)));
  }
  return pos + length;
}

/** A bit for each byte of the block that cannot stand for itself in a JSON string: below 0x20, from 0x80, quote, backslash. */
export function specials(block: v128): u32 {
  return i8x16.bitmask(
    v128.or(
      i8x16.lt_s(block, i8x16.splat(0x20)),
      v128.or(i8x16.eq(block, i8x16.splat(0x22)), i8x16.eq(block, i8x16.splat(0x5c))),
    ),
  );
}

/** The inside of a JSON string. What is not UTF-8 becomes U+FFFD. */
export function putText(pos: usize, at: usize, end: usize): usize {
  while (at < end) {
    if (pos > roomEnd) fail();
    const block = v128.load(at);
    v128.store(pos, block);
    const plain = <usize>ctz(specials(block) | 0x1_0000);
    if (plain >= end - at) return pos + (end - at);
    pos += plain;
    at += plain;
    if (plain == 16) continue;
    let c = <u32>load<u8>(at);
    if (c < 0x80) {
      pos = putEscape(pos, c);
      at++;
      continue;
    }
    // Where one such sequence stands, more follow as a rule.
    do {
      if (pos > roomEnd) fail();
      const length = sequenceLength(c, at, end);
      if (length > 0) {
        for (let k: usize = 0; k < <usize>length; k++) store<u8>(pos + k, load<u8>(at + k));
        pos += length;
        at += length;
      } else {
        store<u16>(pos, 0xbfef);
        store<u8>(pos + 2, 0xbd);
        pos += 3;
        at -= length;
      }
      if (at >= end) break;
      c = <u32>load<u8>(at);
    } while (c >= 0x80);
  }
  return pos;
}

function putEscape(pos: usize, c: u32): usize {
  const short = load<u8>(shortEscapes + c);
  if (short != 0) {
    store<u16>(pos, ((<u16>short) << 8) | 0x5c);
    return pos + 2;
  }
  store<u32>(pos, 0x3030_755c);
  return putHexByte(pos + 4, c);
}

export function putHexByte(pos: usize, byte: u32): usize {
  store<u16>(pos, hexDigit(byte >> 4) | (hexDigit(byte & 15) << 8));
  return pos + 2;
}

function hexDigit(n: u32): u32 {
  return n + (n < 10 ? 0x30 : 0x57);
}

/** The bytes of the UTF-8 sequence at `at`, which begins with `lead`; where there is none, minus the bytes that one U+FFFD replaces. */
function sequenceLength(lead: u32, at: usize, end: usize): i32 {
  if (lead < 0xc2 || lead > 0xf4 || at + 1 >= end) return -1;
  // The second byte's range keeps out overlong forms, surrogates and what lies beyond U+10FFFF.
  const second = <u32>load<u8>(at + 1);
  const from: u32 = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const to: u32 = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (second < from || second > to) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (let k = 2; k < length; k++) if (at + k >= end || (load<u8>(at + k) & 0xc0) != 0x80) return -k;
  return length;
}

/** 12 bytes as 24 hex digits; 32 are stored. */
export function putHex12(pos: usize, at: usize): usize {
  const block = v128.load(at);
  const high = i8x16.swizzle(HEX, i8x16.shr_u(block, 4));
  const low = i8x16.swizzle(HEX, v128.and(block, i8x16.splat(15)));
  v128.store(pos, i8x16.shuffle(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  v128.store(pos + 16, i8x16.shuffle(high, low, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
  return pos + 24;
}

export function putBase64(pos: usize, at: usize, end: usize): usize {
  needRoom(pos, ((end - at) / 3) * 4 + 4);
  for (; at + 2 < end; at += 3, pos += 4) {
    const three = ((<u32>load<u8>(at)) << 16) | ((<u32>load<u8>(at + 1)) << 8) | (<u32>load<u8>(at + 2));
    const high = <u32>load<u16>(base64Pairs + ((three >> 12) << 1));
    const low = <u32>load<u16>(base64Pairs + ((three & 4095) << 1));
    store<u32>(pos, high | (low << 16));
  }
  if (at >= end) return pos;
  const first = <u32>load<u8>(at);
  if (at + 1 == end) {
    store<u16>(pos, load<u16>(base64Pairs + (first << 5)));
    store<u16>(pos + 2, 0x3d3d);
    return pos + 4;
  }
  const second = <u32>load<u8>(at + 1);
  store<u16>(pos, load<u16>(base64Pairs + (((first << 4) | (second >> 4)) << 1)));
  store<u16>(pos + 2, (<u16>base64Letter((second & 15) << 2)) | 0x3d00);
  return pos + 4;
}
