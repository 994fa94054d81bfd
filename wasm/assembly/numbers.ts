/** Numbers and dates as text. Each function returns the place behind what it wrote. */
import { putDouble } from './host';

/** "00" … "99", two bytes each. */
const pairs = memory.data(200);

export function fillNumberTables(): void {
  for (let n: u32 = 0; n < 100; n++) store<u16>(pairs + n * 2, 0x3030 | (n / 10) | ((n % 10) << 8));
}

function putPair(pos: usize, n: u32): void {
  store<u16>(pos, load<u16>(pairs + (n << 1)));
}

export function putUnsigned(pos: usize, n: u32): usize {
  if (n < 10) {
    store<u8>(pos, 0x30 + n);
    return pos + 1;
  }
  if (n < 100) {
    putPair(pos, n);
    return pos + 2;
  }
  const end = pos + digits(n);
  let at = end;
  do {
    const high = n / 100;
    at -= 2;
    putPair(at, n - high * 100);
    n = high;
  } while (n >= 100);
  if (n >= 10) putPair(at - 2, n);
  else store<u8>(at - 1, 0x30 + n);
  return end;
}

/** For three digits and more. */
function digits(n: u32): usize {
  if (n < 100_000) return n < 1000 ? 3 : n < 10_000 ? 4 : 5;
  if (n < 10_000_000) return n < 1_000_000 ? 6 : 7;
  return n < 100_000_000 ? 8 : n < 1_000_000_000 ? 9 : 10;
}

export function putUnsigned64(pos: usize, n: u64): usize {
  if (n <= 0xffff_ffff) return putUnsigned(pos, <u32>n);
  const high = n / 100_000_000;
  pos = putUnsigned64(pos, high);
  let rest = <u32>(n - high * 100_000_000);
  // Eight digits, the last two first.
  for (let k = 6; k >= 0; k -= 2) {
    const next = rest / 100;
    putPair(pos + k, rest - next * 100);
    rest = next;
  }
  return pos + 8;
}

export function putInt32(pos: usize, n: i32): usize {
  if (n >= 0) return putUnsigned(pos, n);
  store<u8>(pos, 0x2d);
  return putUnsigned(pos + 1, 0 - <u32>n);
}

export function putInt64(pos: usize, n: i64): usize {
  if (n >= 0) return putUnsigned64(pos, n);
  store<u8>(pos, 0x2d);
  return putUnsigned64(pos + 1, 0 - <u64>n);
}

/** Finite. An integral double keeps a `.0`. */
export function putFinite(pos: usize, n: f64): usize {
  const size = abs(n);
  if (size < 1e13) {
    // Prices and the like: a number of at most 15 digits that rounds to this double is the shortest text for it.
    const hundredths = nearest(size * 100);
    if (hundredths / 100 == size) {
      if (reinterpret<i64>(n) < 0) {
        store<u8>(pos, 0x2d);
        pos++;
      }
      let whole: u64, rest: u32;
      if (hundredths < 4e9) {
        const all = <u32>hundredths;
        whole = all / 100;
        rest = all - <u32>whole * 100;
      } else {
        const all = <u64>hundredths;
        whole = all / 100;
        rest = <u32>(all - whole * 100);
      }
      pos = putUnsigned64(pos, whole);
      store<u8>(pos, 0x2e);
      putPair(pos + 1, rest);
      return pos + (load<u8>(pos + 2) == 0x30 ? 2 : 3);
    }
  }
  return putDouble(pos, n);
}

const MS_PER_DAY: i64 = 86_400_000;
/** 9999-12-31T23:59:59.999Z: what relaxed Extended JSON still writes as text. */
export const LAST_TEXT_MS: i64 = 253_402_300_799_999;

/** Dates of one oplog crowd together, so the last day's text is kept. */
const dayText = memory.data(16);
let dayStart: i64 = -1;

/** `ms` from 0 to `LAST_TEXT_MS`; milliseconds only where there are any, as js-bson writes it. */
export function putIsoDate(pos: usize, ms: i64): usize {
  if (dayStart < 0 || <u64>(ms - dayStart) >= <u64>MS_PER_DAY) {
    const day = ms / MS_PER_DAY;
    fillDay(<u32>day);
    dayStart = day * MS_PER_DAY;
  }
  v128.store(pos, v128.load(dayText));
  const inDay = <u32>(ms - dayStart);
  const seconds = inDay / 1000;
  const minutes = seconds / 60;
  const hours = minutes / 60;
  putPair(pos + 11, hours);
  store<u8>(pos + 13, 0x3a);
  putPair(pos + 14, minutes - hours * 60);
  store<u8>(pos + 16, 0x3a);
  putPair(pos + 17, seconds - minutes * 60);
  const thousandths = inDay - seconds * 1000;
  if (thousandths == 0) {
    store<u8>(pos + 19, 0x5a);
    return pos + 20;
  }
  const hundredths = thousandths / 10;
  store<u8>(pos + 19, 0x2e);
  putPair(pos + 20, hundredths);
  store<u16>(pos + 22, (0x30 + thousandths - hundredths * 10) | 0x5a00);
  return pos + 24;
}

/** Howard Hinnant's civil_from_days, for days since 1970. */
function fillDay(day: u32): void {
  const shifted = day + 719_468;
  const era = shifted / 146_097;
  const inEra = shifted - era * 146_097;
  const yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365;
  const inYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100);
  const fromMarch = (5 * inYear + 2) / 153;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  putPair(dayText, year / 100);
  putPair(dayText + 2, year % 100);
  store<u8>(dayText + 4, 0x2d);
  putPair(dayText + 5, month);
  store<u8>(dayText + 7, 0x2d);
  putPair(dayText + 8, inYear - (153 * fromMarch + 2) / 5 + 1);
  store<u8>(dayText + 10, 0x54);
}
