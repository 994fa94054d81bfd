/**
 * What runs of the torture suite have shown: one line of JSON for each case as soon as it is over, so that a run that was cut
 * off goes on where it was; and, out of all of them, the table in the README. Times are of short runs where there are any: they
 * take minutes, so a machine can be left alone for them.
 */
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import type { Outcome, TortureCase } from './case.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDER = join(ROOT, 'torture-results');
const README = join(ROOT, 'README.md');
const SHORT = 'short-';
const BEGIN = '<!-- npm run torture -- --table: begin -->';
const END = '<!-- end -->';

export interface Result {
  readonly case: string;
  readonly end: string;
  /** "mongod 5.0.4", where it was not the one at hand. */
  readonly on: string;
  readonly seconds: number;
  readonly outcome?: Outcome | undefined;
  /** A promise was broken, or the case could not be carried through. */
  readonly failed?: string | undefined;
  /** Why this machine cannot show it. */
  readonly cannot?: string | undefined;
}

export class Results {
  readonly path: string;
  readonly #all: Result[];

  private constructor(path: string, all: Result[]) {
    this.path = path;
    this.#all = all;
  }

  /** Of one seed, with what an earlier run of it has shown. */
  static async of(seed: number, size: 'short' | 'long'): Promise<Results> {
    await mkdir(FOLDER, { recursive: true });
    const path = join(FOLDER, size === 'short' ? `${SHORT}${seed}.jsonl` : `${seed}.jsonl`);
    return new Results(path, existsSync(path) ? await read(path) : []);
  }

  /** Failures are tried again. */
  has({ end, name }: TortureCase, on: string): boolean {
    return this.#all.some(
      (result) => result.end === end && result.case === name && result.on === on && result.failed === undefined,
    );
  }

  async add(result: Result): Promise<void> {
    await appendFile(this.path, `${JSON.stringify(result)}\n`);
  }
}

/** Replaces the README's table by one of all results there are. */
export async function writeTable(cases: readonly TortureCase[]): Promise<string> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.jsonl')).toSorted();
  const all = await Promise.all(files.map((name) => read(join(FOLDER, name))));
  const results = all.flat();
  const short = all.filter((_, n) => files[n]!.startsWith(SHORT));
  const timed = (short.length > 0 ? short : all).flat();
  const rows = cases.flatMap(({ end, name }) => {
    const of = (some: readonly Result[]): Result[] => some.filter((one) => one.end === end && one.case === name);
    return of(results).length === 0 ? [] : [row({ end, name, results: of(results), timed: of(timed) })];
  });
  const shown = results.flatMap(({ outcome }) => outcome ?? []);
  const text = [
    BEGIN,
    '',
    `${files.length - short.length} long runs and ${short.length} short with different seeds, ${grouped(sum(shown, 'changes'))} changes, ${grouped(sum(shown, 'faults'))} faults: ` +
      `${grouped(sum(shown, 'lost'))} lost, ${grouped(sum(shown, 'outOfOrder'))} out of order.`,
    '',
    '<details><summary>Case by case</summary>',
    '',
    '| where | what breaks | changes | faults | lost | out of order | repeated a fault | longest stall | flowing again after | peak RSS |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    '</details>',
    '',
    END,
  ].join('\n');
  const readme = await readFile(README, 'utf8');
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`README.md has no place for it between ${BEGIN} and ${END}`);
  const replaced = readme.slice(0, begin) + text + readme.slice(end + END.length);
  await writeFile(README, await format(replaced, { ...(await resolveConfig(README)), parser: 'markdown' }));
  return text;
}

interface Row {
  readonly end: string;
  readonly name: string;
  readonly results: readonly Result[];
  /** Those whose times count. */
  readonly timed: readonly Result[];
}

function row({ end, name, results, timed }: Row): string {
  const outcomes = results.flatMap(({ outcome }) => outcome ?? []);
  const cannot = results.find((result) => result.cannot !== undefined)?.cannot;
  if (outcomes.length === 0)
    return `| ${end} | ${name} | ${cannot === undefined ? 'failed' : `not run: ${cannot}`} | | | | | | | |`;
  const most = (key: 'stallMs' | 'recoveryMs' | 'peakRssMiB', of: readonly Result[]): number | undefined => {
    const all = of.flatMap(({ outcome }) => outcome?.[key] ?? []);
    return all.length === 0 ? undefined : Math.max(...all);
  };
  const versions = [...new Set(results.map(({ on }) => on).filter((on) => on !== ''))];
  const repeats = Math.max(...outcomes.map(({ repeated, faults }) => Math.ceil(repeated / Math.max(1, faults))));
  return `| ${[
    end,
    versions.length === 0 ? name : `${name} (also on ${versions.join(', ')})`,
    grouped(sum(outcomes, 'changes')),
    grouped(sum(outcomes, 'faults')),
    sum(outcomes, 'lost'),
    sum(outcomes, 'outOfOrder'),
    grouped(repeats),
    seconds(most('stallMs', timed)),
    seconds(most('recoveryMs', timed)),
    `${most('peakRssMiB', results)} MiB`,
  ].join(' | ')} |`;
}

async function read(path: string): Promise<Result[]> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const all = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Result);
  // The newest of each counts.
  return [...new Map(all.map((result) => [`${result.end}/${result.case}/${result.on}`, result])).values()];
}

function sum(outcomes: readonly Outcome[], key: 'changes' | 'lost' | 'outOfOrder' | 'faults'): number {
  return outcomes.reduce((total, outcome) => total + outcome[key], 0);
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? '-' : `${(ms / 1_000).toFixed(1)} s`;
}
