/**
 * What `tailrace top` shows: a running engine as tables, from its status and the pace between its last statuses. Pure. The most urgent stands
 * highest, as what has no room is left out from below.
 */
import { holdsByReason, underWay } from '../observe/lanes-summary.ts';
import type { Hold } from '../observe/lanes-summary.ts';
import type { SinkStatus, SnapshotStatus, SourceStatus, StatusReport, SubscriptionStatus } from '../observe/status.ts';
import { formatBytes, formatCount, formatSpan } from './amounts.ts';
import type { Pace } from './pace.ts';
import { plain } from './plain.ts';
import type { Style } from './style.ts';

export interface TopViewOptions {
  readonly report: StatusReport;
  readonly pace: Pick<Pace, 'rates' | 'catchingUp'>;
  /** Where it was asked. */
  readonly url: string;
  readonly style: Style;
  /** Why there has been no newer answer. */
  readonly trouble?: string | undefined;
}

interface Column<Row> {
  readonly head: string;
  readonly isNumber?: boolean;
  readonly of: (row: Row) => string;
  readonly tone?: (row: Row) => keyof Style | undefined;
}

const UNKNOWN = '-';
/** Of why it is not ready; there may be one for each lane. */
const REASONS_SHOWN = 3;

export function topView({ report, pace, url, style, trouble }: TopViewOptions): string[] {
  const { rates } = pace;
  const holds = Object.entries(report.subscriptions).flatMap(([subscription, { lanes }]) =>
    holdsByReason(lanes).map((hold) => ({ subscription, of: lanes.length, ...hold })),
  );
  const snapshots = report.snapshots.filter(({ state }) => state === 'running' || state === 'paused');
  return [
    headline(report, rates, url, style),
    ...(trouble === undefined ? readiness(report, style) : [style.bad(`no news: ${plain(trouble)}`)]),
    '',
    ...grid(sourceColumns(pace), Object.entries(report.sources).map(named), style),
    '',
    ...grid(subscriptionColumns(rates), Object.entries(report.subscriptions).map(named), style),
    ...(snapshots.length === 0 ? [] : ['', ...grid(SNAPSHOT_COLUMNS, snapshots, style)]),
    ...(holds.length === 0 ? [] : ['', ...grid(HOLD_COLUMNS, holds, style)]),
    ...(Object.keys(report.sinks).length === 0
      ? []
      : ['', ...grid(SINK_COLUMNS, Object.entries(report.sinks).map(named), style)]),
    ...(report.gaps.length === 0
      ? []
      : [
          '',
          style.warning(
            `${report.gaps.length} gaps on record: \`tailrace ctl checkpoint\` shows what was not delivered.`,
          ),
        ]),
  ];
}

/** As much as there is room for. */
export function withinRows(lines: readonly string[], rows: number): readonly string[] {
  if (lines.length <= rows) return lines;
  return [...lines.slice(0, rows - 1), `… ${lines.length - rows + 1} lines more: \`tailrace top --once\` prints all.`];
}

function headline(
  { version, uptimeSeconds, process, workers, parking }: StatusReport,
  rates: Pace['rates'],
  url: string,
  style: Style,
): string {
  const parts = [
    `up ${formatSpan(uptimeSeconds)}`,
    `${formatBytes(process.residentBytes)} resident`,
    ...(rates
      ? [`${rates.processors.toFixed(2)} cores`, `main thread ${Math.round(rates.eventLoop * 100)} % busy`]
      : []),
    `${workers.threads} worker${workers.threads === 1 ? '' : 's'}`,
    ...(parking.bytes > 0 ? [`${formatBytes(parking.bytes)} of ${formatBytes(parking.maxBytes)} parked`] : []),
  ];
  return `${style.bold(`tailrace ${plain(version)}`)} ${plain(url)}  ${parts.join('  ')}`;
}

function readiness({ notReady }: StatusReport, style: Style): string[] {
  if (notReady.length === 0) return [style.good('ready')];
  const more = notReady.length - REASONS_SHOWN;
  return [
    ...notReady.slice(0, REASONS_SHOWN).map((reason) => style.warning(`not ready: ${plain(reason)}`)),
    ...(more > 0 ? [style.warning(`and ${more} more reasons`)] : []),
  ];
}

type Named<T> = T & { readonly name: string };

function named<T>([name, status]: [string, T]): Named<T> {
  return { ...status, name };
}

function sourceColumns(pace: TopViewOptions['pace']): Column<Named<SourceStatus>>[] {
  const { rates } = pace;
  return [
    { head: 'SOURCE', of: ({ name }) => name },
    { head: 'STATE', of: ({ state }) => state, tone: ({ state }) => (state === 'reading' ? 'good' : 'warning') },
    { head: 'MEMBER', of: ({ member }) => member ?? UNKNOWN },
    { head: 'READ/S', isNumber: true, of: ({ name }) => count(rates?.sources.get(name)?.entries) },
    { head: 'BYTES/S', isNumber: true, of: ({ name }) => bytes(rates?.sources.get(name)?.bytes) },
    { head: 'LAG', isNumber: true, of: ({ lagSeconds }) => span(lagSeconds) },
    { head: 'BEHIND', isNumber: true, of: ({ checkpointLagSeconds }) => span(checkpointLagSeconds) },
    { head: 'LEFT', isNumber: true, of: ({ name }) => left(pace.catchingUp(name)?.leftSeconds) },
    {
      head: 'HEADROOM',
      isNumber: true,
      of: ({ headroomSeconds }) => span(headroomSeconds),
      // An hour is what the alert rules ask for.
      tone: ({ headroomSeconds }) => (headroomSeconds !== null && headroomSeconds < 3_600 ? 'bad' : undefined),
    },
    { head: 'IN FLIGHT', isNumber: true, of: ({ inFlightBytes }) => formatBytes(inFlightBytes) },
    { head: 'HELD BY', of: ({ heldBy }) => heldBy.join(', ') || UNKNOWN, tone: () => 'warning' },
  ];
}

function subscriptionColumns(rates: Pace['rates']): Column<Named<SubscriptionStatus>>[] {
  return [
    { head: 'SUBSCRIPTION', of: ({ name }) => name },
    { head: 'SOURCE', of: ({ source }) => source },
    {
      head: 'STATE',
      of: ({ state, detached }) => (detached ? `${state}, detached` : state),
      tone: ({ state, detached }) => (state === 'flowing' && !detached ? 'good' : 'warning'),
    },
    { head: 'BEHIND', isNumber: true, of: ({ lagSeconds }) => span(lagSeconds) },
    { head: 'SENT/S', isNumber: true, of: ({ name }) => count(rates?.subscriptions.get(name)?.events) },
    { head: 'CONFIRMS/S', isNumber: true, of: ({ name }) => count(rates?.subscriptions.get(name)?.confirms) },
    { head: 'UNCONFIRMED', isNumber: true, of: ({ lanes }) => formatCount(underWay(lanes).unconfirmed) },
    { head: 'QUEUED', isNumber: true, of: ({ lanes }) => formatCount(underWay(lanes).queued) },
    {
      head: 'PARKED',
      isNumber: true,
      of: ({ parked }) => formatCount(parked),
      tone: ({ parked }) => (parked > 0 ? 'warning' : undefined),
    },
  ];
}

const HOLD_COLUMNS: readonly Column<Hold & { readonly subscription: string; readonly of: number }>[] = [
  { head: 'HELD', of: ({ subscription }) => subscription },
  { head: 'LANES', of: ({ lanes, of }) => `${lanes} of ${of}` },
  { head: 'FOR', isNumber: true, of: ({ forSeconds }) => formatSpan(forSeconds) },
  { head: 'REASON', of: ({ reason }) => reason, tone: () => 'warning' },
  { head: 'DETAIL', of: ({ detail }) => detail },
];

const SNAPSHOT_COLUMNS: readonly Column<SnapshotStatus>[] = [
  { head: 'SNAPSHOT', of: ({ id }) => id },
  { head: 'STATE', of: ({ state }) => state, tone: ({ state }) => (state === 'running' ? 'good' : 'warning') },
  { head: 'DOCUMENTS', isNumber: true, of: ({ documents }) => formatCount(documents) },
  {
    head: 'OF ABOUT',
    isNumber: true,
    of: ({ expectedDocuments }) => (expectedDocuments === null ? UNKNOWN : formatCount(expectedDocuments)),
  },
  { head: 'DOCUMENTS/S', isNumber: true, of: ({ documentsPerSecond }) => formatCount(documentsPerSecond) },
  { head: 'LEFT', isNumber: true, of: ({ secondsLeft }) => span(secondsLeft) },
  { head: 'WAITS FOR', of: ({ waitsFor }) => waitsFor ?? UNKNOWN, tone: () => 'warning' },
];

const SINK_COLUMNS: readonly Column<Named<SinkStatus>>[] = [
  { head: 'SINK', of: ({ name }) => name },
  { head: 'STATE', of: ({ state }) => state, tone: ({ state }) => (state === 'connected' ? 'good' : 'warning') },
  { head: 'BLOCKED', of: ({ blocked }) => blocked ?? UNKNOWN, tone: () => 'warning' },
];

function span(seconds: number | null): string {
  return seconds === null ? UNKNOWN : formatSpan(seconds);
}

function left(seconds: number | undefined): string {
  if (seconds === undefined) return UNKNOWN;
  return seconds === Infinity ? 'growing' : formatSpan(Math.max(1, seconds));
}

function count(perSecond: number | undefined): string {
  return perSecond === undefined ? UNKNOWN : formatCount(perSecond);
}

function bytes(perSecond: number | undefined): string {
  return perSecond === undefined ? UNKNOWN : formatBytes(perSecond);
}

function grid<Row>(columns: readonly Column<Row>[], rows: readonly Row[], style: Style): string[] {
  const cells = rows.map((row) => columns.map(({ of }) => plain(of(row))));
  const widths = columns.map(({ head }, c) => Math.max(head.length, ...cells.map((row) => row[c]!.length)));
  const line = (texts: readonly string[], tone: (c: number) => (text: string) => string): string =>
    texts
      .map((text, c) => {
        const padded = columns[c]!.isNumber === true ? text.padStart(widths[c]!) : text.padEnd(widths[c]!);
        return tone(c)(c === texts.length - 1 ? padded.trimEnd() : padded);
      })
      .join('  ');
  return [
    line(
      columns.map(({ head }) => head),
      () => style.dim,
    ),
    ...rows.map((row, r) =>
      line(cells[r]!, (c) => {
        const name = cells[r]![c] === UNKNOWN ? undefined : columns[c]!.tone?.(row);
        return name === undefined ? (text) => text : style[name];
      }),
    ),
  ];
}
