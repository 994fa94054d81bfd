/** A line of the log for a person at a terminal: when, how grave, what, and its fields. Pipes and files get the JSON itself. */
import { isMapping } from '../config/salvage.ts';
import { plain } from './plain.ts';
import type { Style } from './style.ts';

const LEVEL_COLUMNS = 5;
const DETAIL = '               ';

export function readableLine(json: string, style: Style): string {
  const fields = parsed(json);
  if (fields === undefined) return json;
  const { time, level, msg, err, ...others } = fields;
  const code = typeof others['code'] === 'string' ? others['code'] : undefined;
  const said = Object.entries(others)
    .filter(([, value]) => value !== code)
    .map(([name, value]) => `${name}=${shown(value)}`);
  const cause = isMapping(err) && typeof err['message'] === 'string' ? err['message'] : undefined;
  const parts = [
    style.dim(clock(time)),
    levelOf(typeof level === 'string' ? level : '', style),
    plain(typeof msg === 'string' ? msg : ''),
    ...(cause === undefined || cause === msg ? [] : [style.dim(`(${plain(cause)})`)]),
    ...(said.length === 0 ? [] : [style.dim(said.join(' '))]),
    ...(code !== undefined ? [style.dim(`[${plain(code)}]`)] : []),
  ];
  // What nobody foresaw has to be found by somebody.
  const stack = code === 'unexpected' && isMapping(err) && typeof err['stack'] === 'string' ? err['stack'] : undefined;
  const next =
    level === 'fatal' && code !== undefined ? `\n${DETAIL}\`tailrace explain ${plain(code)}\` says more.` : '';
  return `${parts.join(' ')}${stack === undefined ? '' : `\n${plain(stack, { lines: true })}`}${next}\n`;
}

function parsed(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isMapping(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Of this place: a person compares it with the clock on the wall. */
function clock(time: unknown): string {
  const at = new Date(typeof time === 'string' ? time : Date.now());
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

function levelOf(level: string, style: Style): string {
  const padded = level.padEnd(LEVEL_COLUMNS);
  switch (level) {
    case 'warn':
      return style.warning(padded);
    case 'error':
    case 'fatal':
      return style.bad(padded);
    default:
      return style.dim(padded);
  }
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[^\s"=]+$/.test(text) || typeof value !== 'string' ? plain(text) : JSON.stringify(plain(text));
}
