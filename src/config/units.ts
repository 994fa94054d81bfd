/**
 * Sizes and times as people write them: `64KiB`, `1.5GiB`, `500ms`, `5s`. A bare number is a size in bytes; as a time it
 * is refused (unless 0), because half of all programs mean seconds by it and the other half milliseconds.
 */
const BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, h: 3_600e3, d: 86_400e3 };

const QUANTITY = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/;

export type Parsed<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly expected: string; readonly hint?: string };

export function parseBytes(written: unknown): Parsed<number> {
  const expected = 'a size such as 64KiB or 1GiB';
  const found = quantity(written);
  if (found === undefined) return { ok: false, expected };
  const factor = found.unit === '' ? 1 : factorOf(BYTES, found.unit.toLowerCase());
  if (factor === undefined) return { ok: false, expected, hint: `units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB` };
  return whole(found.amount * factor, expected);
}

export function parseDuration(written: unknown): Parsed<number> {
  const expected = 'a time such as 500ms or 5s';
  const found = quantity(written);
  if (found === undefined) return { ok: false, expected };
  if (found.unit === '') {
    if (found.amount === 0) return { ok: true, value: 0 };
    return { ok: false, expected, hint: 'a number needs its unit: ms, s, m, h or d' };
  }
  const factor = factorOf(MILLISECONDS, found.unit);
  if (factor === undefined) return { ok: false, expected, hint: 'units are ms, s, m, h, d' };
  return whole(found.amount * factor, expected);
}

/** What a number cannot hold exactly is no quantity: written with hundreds of digits it would be endless. */
function whole(amount: number, expected: string): Parsed<number> {
  const value = Math.round(amount);
  return Number.isSafeInteger(value) ? { ok: true, value } : { ok: false, expected };
}

/** The shortest exact way to write it: 65536 is `64KiB`. */
export function formatBytes(bytes: number): string {
  for (const [factor, unit] of [
    [2 ** 40, 'TiB'],
    [2 ** 30, 'GiB'],
    [2 ** 20, 'MiB'],
    [2 ** 10, 'KiB'],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}

export function formatDuration(ms: number): string {
  for (const [factor, unit] of [
    [86_400e3, 'd'],
    [3_600e3, 'h'],
    [60e3, 'm'],
    [1e3, 's'],
  ] as const) {
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

function quantity(written: unknown): { amount: number; unit: string } | undefined {
  if (typeof written === 'number') {
    return Number.isFinite(written) && written >= 0 ? { amount: written, unit: '' } : undefined;
  }
  const match = typeof written === 'string' ? QUANTITY.exec(written.trim()) : null;
  return match === null ? undefined : { amount: Number(match[1]), unit: match[2] ?? '' };
}

function factorOf(factors: Readonly<Record<string, number>>, unit: string): number | undefined {
  return Object.hasOwn(factors, unit) ? factors[unit] : undefined;
}
