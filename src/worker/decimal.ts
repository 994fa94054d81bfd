/**
 * A Decimal128's text, as its specification writes it: the digits as they are, so that 1.0 stays apart from 1.00. A number
 * of more than 34 digits, which some patterns of bits would be, is zero; js-bson does not take all of them for that.
 */
import { readInt32, readInt64, readUint32 } from './bson.ts';

const EXPONENT_BIAS = 6176;
const FIRST_TOO_LARGE = 10n ** 34n;

export function decimalText(bytes: Uint8Array, at: number): string {
  const top = readUint32(bytes, at + 12);
  const sign = top >>> 31 === 0 ? '' : '-';
  const combination = (top >>> 26) & 31;
  if (combination === 31) return 'NaN';
  if (combination === 30) return `${sign}Infinity`;
  // With two ones in front the exponent lies two bits further on, and the digits would be too many.
  const tooLarge = combination >= 24;
  const exponent = ((top >>> (tooLarge ? 15 : 17)) & 0x3fff) - EXPONENT_BIAS;
  const digits = tooLarge ? '0' : digitsOf(bytes, at, top & 0x1_ffff);
  const adjusted = exponent + digits.length - 1;
  if (exponent > 0 || adjusted < -6) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    return `${sign}${digits[0]}${fraction}E${adjusted < 0 ? '' : '+'}${adjusted}`;
  }
  if (exponent === 0) return sign + digits;
  const padded = digits.padStart(1 - exponent, '0');
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

/** `top` holds the highest 17 of the number's 113 bits. */
function digitsOf(bytes: Uint8Array, at: number, top: number): string {
  const third = readUint32(bytes, at + 8);
  const second = readInt32(bytes, at + 4);
  if (top === 0 && third === 0 && second >= 0 && second < 0x20_0000) return String(readInt64(bytes, at));
  const high = (BigInt(top) << 32n) | BigInt(third);
  const low = (BigInt(second >>> 0) << 32n) | BigInt(readUint32(bytes, at));
  const number = (high << 64n) | low;
  return number < FIRST_TOO_LARGE ? number.toString() : '0';
}
