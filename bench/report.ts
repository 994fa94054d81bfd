/**
 * What a bench prints: machine, versions and exact configuration first, then tables, then what was wanted beside what was
 * measured. Repeated runs become a median and a spread. A target that is missed is said, never asserted: a bench measures.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import { VERSION } from '../src/version.ts';

export interface Environment {
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    /** Processes that wanted a core over the last minute: well above 0 before a bench begins, its figures are not its own. */
    readonly loadBefore: number;
  };
  readonly versions: Readonly<Record<string, string>>;
}

/** By what it is called: "Load", "Engine", "Rounds". */
export type Configuration = Readonly<Record<string, string>>;

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export interface Target {
  readonly what: string;
  readonly wanted: number;
  readonly bound: 'at least' | 'at most';
  readonly measured: number;
  /** How both are written for people. */
  readonly written: (value: number) => string;
}

/** Servers that a scenario does without are left out. */
export async function environment({
  mongoUri,
  amqpUri,
}: { readonly mongoUri?: string; readonly amqpUri?: string } = {}): Promise<Environment> {
  const machine = cpus();
  return {
    machine: {
      cpu: machine[0]?.model ?? 'unknown',
      cores: machine.length,
      memoryBytes: totalmem(),
      loadBefore: loadavg()[0] ?? 0,
    },
    versions: {
      tailrace: `${VERSION} (${commit()})`,
      node: process.versions.node,
      ...(mongoUri !== undefined && { mongod: await mongodVersion(mongoUri), mongodb: packageVersion('mongodb') }),
      ...(amqpUri !== undefined && { rabbitmq: await rabbitVersion(amqpUri), amqplib: packageVersion('amqplib') }),
    },
  };
}

/** The head of every scenario's output: nobody can read a number below without having passed what it depends on. */
export function printHead(words: string, { machine, versions }: Environment, configuration: Configuration): void {
  const { cpu, cores, memoryBytes, loadBefore } = machine;
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const lines = {
    Machine: `${cpu}, ${cores} cores, ${memory}, all processes on it; load average before ${loadBefore.toFixed(1)}`,
    Versions: named.join(' · '),
    ...configuration,
  };
  const width = Math.max(...Object.keys(lines).map((name) => name.length)) + 2;
  console.log(`\n${words}\n`);
  for (const [name, text] of Object.entries(lines)) console.log(`${name.padEnd(width)}${text}`);
  console.log('');
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)! };
}

/** "176,937 (174,817 – 205,475)" */
export function withSpread({ median, least, most }: Spread, written: (value: number) => string): string {
  return least === most || Number.isNaN(median)
    ? written(median)
    : `${written(median)} (${written(least)} – ${written(most)})`;
}

/** The first column to the left, all others to the right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  console.log(line(head));
  console.log(widths.map((width) => '-'.repeat(width)).join('  '));
  for (const row of rows) console.log(line(row));
}

export function atLeast(what: string, wanted: number, measured: number, written = thousands): Target {
  return { what, wanted, bound: 'at least', measured, written };
}

export function atMost(what: string, wanted: number, measured: number, written = thousands): Target {
  return { what, wanted, bound: 'at most', measured, written };
}

/** Prints them, and returns them as they go into a result. */
export function judged(targets: readonly Target[]): readonly object[] {
  if (targets.length > 0) console.log('');
  return targets.map(({ what, wanted, bound, measured, written }) => {
    const reached = bound === 'at least' ? measured >= wanted : measured <= wanted;
    const verdict = reached ? 'reached' : 'NOT reached';
    console.log(
      `${what}: ${written(measured)}, wanted ${bound === 'at least' ? '≥' : '≤'} ${written(wanted)}: ${verdict}`,
    );
    return { what, wanted, bound, measured, reached };
  });
}

export function thousands(value: number): string {
  return Number.isNaN(value) ? '?' : Math.round(value).toLocaleString('en');
}

export function decimals(places: number, unit = ''): (value: number) => string {
  return (value) => (Number.isNaN(value) ? '?' : `${value.toFixed(places)}${unit}`);
}

export const micros = decimals(1, ' µs');
export const seconds = decimals(2, ' s');
export const times = decimals(2, ' ×');

export function mebibytes(bytes: number): string {
  return Number.isNaN(bytes) ? '?' : `${thousands(bytes / 2 ** 20)} MiB`;
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const changed = git('status', '--porcelain', '--', 'src') === '' ? '' : ', src changed since';
    return `commit ${git('rev-parse', '--short', 'HEAD')}${changed}`;
  } catch {
    return 'not a git checkout';
  }
}

function packageVersion(name: string): string {
  const manifest = readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

async function mongodVersion(uri: string): Promise<string> {
  const client = new MongoClient(uri);
  try {
    return String((await client.db('admin').command({ buildInfo: 1 }))['version']);
  } finally {
    await client.close();
  }
}

async function rabbitVersion(uri: string): Promise<string> {
  const connection = await connect(uri);
  try {
    return connection.connection.serverProperties.version;
  } finally {
    await connection.close();
  }
}
