/** What the demo shows: lines, one line that is redrawn on a terminal, and tables. */
import type { Tally } from './verdict.ts';

const terminal = process.stdout.isTTY;

export function say(line: string): void {
  process.stdout.write(`${terminal ? '\r\u001B[2K' : ''}${line}\n`);
}

/** On a terminal the next `live` or `say` overwrites it. */
export function live(line: string): void {
  process.stdout.write(terminal ? `\r\u001B[2K${line}` : `${line}\n`);
}

/** The end of a line that was redrawn; where it was not, there is nothing to end. */
export function endLive(): void {
  if (terminal) process.stdout.write('\n');
}

export const LIVE_EVERY_MS = terminal ? 250 : 1_000;

export function summary(tallies: readonly Tally[]): string {
  const head = [
    'collection',
    'inserts',
    'updates',
    'replaces',
    'deletes',
    'written',
    'arrived',
    'missing',
    'out of order',
  ];
  const rows = tallies.map(({ ns, written, arrived, missing, outOfOrder }) => {
    const { insert, update, replace, delete: removed } = written;
    const total = insert + update + replace + removed;
    return { ns, counts: [insert, update, replace, removed, total, arrived, missing, outOfOrder] };
  });
  const sums = rows.reduce<number[]>((sum, { counts }) => counts.map((count, i) => count + (sum[i] ?? 0)), []);
  const lines = [...rows, { ns: 'all', counts: sums }].map(({ ns, counts }) => [ns, ...counts.map(String)]);
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i]?.length ?? 0)));
  return [head, ...lines]
    .map((cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))))
    .map((cells) => `  ${cells.join('  ')}`)
    .join('\n');
}

/** Indented, but what fits into a line stays on one. */
export function pretty(json: string): string {
  return `    ${lines(JSON.parse(json), '    ')}`;
}

function lines(value: unknown, indent: string): string {
  const line = JSON.stringify(value);
  if (line.length <= 80 || typeof value !== 'object' || value === null) return line;
  const deeper = `${indent}  `;
  const parts = Object.entries(value).map(([name, part]) => {
    return `${deeper}${Array.isArray(value) ? '' : `${JSON.stringify(name)}: `}${lines(part, deeper)}`;
  });
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  return `${open}\n${parts.join(',\n')}\n${indent}${close}`;
}
