/** Numbers and times as people read them. Every one has the same width wherever it can: what moves shall not jump. */

const NONE = '–';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** 950 · 12.3 k · 1.2 M */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value >= 1e9) return `${one.format(value / 1e9)} G`;
  if (value >= 1e6) return `${one.format(value / 1e6)} M`;
  if (value >= 1e4) return `${one.format(value / 1e3)} k`;
  return value > 0 && value < 10 && !Number.isInteger(value) ? one.format(value) : whole.format(value);
}

export function perSecond(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : `${short(value)}/s`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value >= 2 ** 30) return `${one.format(value / 2 ** 30)} GiB`;
  if (value >= 2 ** 20) return `${one.format(value / 2 ** 20)} MiB`;
  if (value >= 2 ** 10) return `${one.format(value / 2 ** 10)} KiB`;
  return `${whole.format(value)} B`;
}

/** 0.4 s · 12 s · 3 m 05 s · 7 h 20 m · 12 d 3 h */
export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value < 0) return `-${seconds(-value)}`;
  if (value < 10) return Number.isInteger(value) ? `${value} s` : `${one.format(value)} s`;
  const total = Math.round(value);
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} m ${two(total % 60)} s`;
  if (total < 86_400) return `${Math.floor(total / 3600)} h ${two(Math.floor((total % 3600) / 60))} m`;
  return `${whole.format(Math.floor(total / 86_400))} d ${Math.floor((total % 86_400) / 3600)} h`;
}

export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? NONE : `${whole.format(share * 100)} %`;
}

const clock = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'medium' });

/** ISO 8601 in, the reader's own time out. */
export function time(iso: string | null | undefined): string {
  return iso === null || iso === undefined ? NONE : clock.format(new Date(iso));
}

/** `seconds:increment` in, the reader's own time out. */
export function positionTime(position: string | null | undefined): string {
  const at = /^\d+/.exec(position ?? '')?.[0];
  return at === undefined ? NONE : clock.format(new Date(Number(at) * 1000));
}

export function plural(n: number, what: string, many = `${what}s`): string {
  return `${count(n)} ${n === 1 ? what : many}`;
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}
