/**
 * A running engine in a few lines, below its log: one for each source, with a bar while it catches up, and what keeps the engine from
 * being ready. Pure: a status, its pace and the size of the terminal in, lines out.
 */
import type { SourceStatus, StatusReport } from '../observe/status.ts';
import { formatBytes, formatCount, formatSpan } from './amounts.ts';
import type { CatchingUp, Pace, Rates } from './pace.ts';
import { cut, plain } from './plain.ts';
import type { Style } from './style.ts';

export interface LiveLinesOptions {
  readonly report: StatusReport;
  readonly pace: Pick<Pace, 'rates' | 'catchingUp'>;
  readonly columns: number;
  /** At most so many lines. */
  readonly rows: number;
  readonly style: Style;
}

const BAR_COLUMNS = 20;
/** Below it there is no room for a bar. */
const WIDE_COLUMNS = 60;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

export function liveLines({ report, pace, columns, rows, style }: LiveLinesOptions): string[] {
  const names = Object.keys(report.sources);
  const nameColumns = Math.max(0, ...names.map((name) => name.length));
  const { rates } = pace;
  const reasons = report.notReady.slice(0, 1).map((text) => {
    const more = report.notReady.length > 1 ? ` (and ${report.notReady.length - 1} more)` : '';
    return style.warning(cut(cut(`not ready: ${plain(text)}`, columns - more.length) + more, columns));
  });
  const lines = names.map((name) => {
    const status = report.sources[name]!;
    const catchingUp = pace.catchingUp(name);
    const parts = [
      stateOf(status, catchingUp),
      ...(catchingUp ? behind(catchingUp, columns) : []),
      ...flow(name, report, rates),
      ...(catchingUp ? [] : margin(status)),
    ];
    return line(name.padEnd(nameColumns), parts, { columns, style, isWell: isWell(status) });
  });
  const room = Math.max(1, rows - reasons.length);
  const shown =
    lines.length <= room ? lines : [...lines.slice(0, room - 1), `and ${lines.length - room + 1} more sources`];
  return [...shown, ...reasons].slice(0, rows);
}

/** "[█████▌              ] 27 %" */
export function bar(share: number, columns: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * columns * 8);
  const filled = '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
  return `[${filled.padEnd(columns)}] ${Math.floor(share * 100)} %`;
}

function stateOf({ state, heldBy }: SourceStatus, catchingUp: CatchingUp | undefined): string {
  if (heldBy.length > 0) return `held by ${heldBy.join(', ')}`;
  if (state === 'reading' && catchingUp) return 'catching up';
  return state === 'position_lost' ? 'position lost' : state;
}

function isWell({ state, heldBy }: SourceStatus): boolean {
  return state === 'reading' && heldBy.length === 0;
}

function behind({ share, behindSeconds, leftSeconds }: CatchingUp, columns: number): string[] {
  const left =
    leftSeconds === undefined
      ? []
      : [leftSeconds === Infinity ? 'falling further behind' : `${formatSpan(Math.max(1, leftSeconds))} left`];
  const progress = columns < WIDE_COLUMNS ? `${Math.floor(share * 100)} %` : bar(share, BAR_COLUMNS);
  return [progress, ...left, `${formatSpan(behindSeconds)} behind`];
}

function flow(name: string, { subscriptions }: StatusReport, rates: Rates | undefined): string[] {
  const read = rates?.sources.get(name);
  if (!rates || !read) return [];
  let sent = 0;
  for (const [subscription, { source }] of Object.entries(subscriptions)) {
    if (source === name) sent += rates.subscriptions.get(subscription)?.events ?? 0;
  }
  return [`${formatCount(read.entries)} read/s`, `${formatCount(sent)} sent/s`, `${formatBytes(read.bytes)}/s`];
}

function margin({ checkpointLagSeconds, headroomSeconds }: SourceStatus): string[] {
  return [
    ...(checkpointLagSeconds === null ? [] : [`${formatSpan(checkpointLagSeconds)} behind`]),
    ...(headroomSeconds === null ? [] : [`${formatSpan(headroomSeconds)} of oplog in hand`]),
  ];
}

/** What has no room any more is left out from the end. */
function line(
  name: string,
  [state = '', ...others]: readonly string[],
  { columns, style, isWell: well }: { columns: number; style: Style; isWell: boolean },
): string {
  const head = cut(`${name}  ${state}`, columns);
  let rest = '';
  for (const part of others) {
    if (head.length + rest.length + 2 + part.length > columns) break;
    rest += `  ${part}`;
  }
  return style.bold(head.slice(0, name.length)) + (well ? style.good : style.warning)(head.slice(name.length)) + rest;
}
