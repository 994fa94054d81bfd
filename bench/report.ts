/** What a bench prints: machine, versions and configuration first, then a table. Repeated runs become a median and a spread. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import { VERSION } from '../src/version.ts';

export interface Environment {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly memoryBytes: number };
  readonly versions: Readonly<Record<string, string>>;
}

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export async function environment({ mongoUri, amqpUri }: { mongoUri: string; amqpUri: string }): Promise<Environment> {
  const machine = cpus();
  return {
    machine: { cpu: machine[0]?.model ?? 'unknown', cores: machine.length, memoryBytes: totalmem() },
    versions: {
      tailrace: `${VERSION} (${commit()})`,
      node: process.versions.node,
      mongod: await mongodVersion(mongoUri),
      rabbitmq: await rabbitVersion(amqpUri),
      mongodb: packageVersion('mongodb'),
      amqplib: packageVersion('amqplib'),
    },
  };
}

export function printEnvironment({ machine, versions }: Environment): void {
  console.log(
    `Machine   ${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, all processes on it`,
  );
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  console.log(`Versions  ${named.join(' · ')}`);
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)! };
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

export function thousands(value: number): string {
  return Math.round(value).toLocaleString('en');
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
