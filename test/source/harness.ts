/** What the tests of the source share: a source over a real server, and ways to look at what it gives. */
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import * as BSON from 'bson';
import { MongoClient } from 'mongodb';
import { costOf } from '../../src/source/source.ts';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import { OplogSource } from '../../src/source/oplog-source.ts';
import type { OplogSourceOptions } from '../../src/source/oplog-source.ts';
import type { RawBatch } from '../../src/source/source.ts';

export interface Line {
  readonly level: string;
  readonly fields: unknown;
  readonly message: string | undefined;
}

export function memoryLog(): { readonly log: OplogSourceOptions['log']; readonly lines: Line[] } {
  const lines: Line[] = [];
  const at =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      lines.push({ level, fields, message });
    };
  return { log: { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }, lines };
}

export interface Over {
  readonly source: OplogSource;
  /** How often a member had to be found anew. */
  readonly reconnects: () => number;
  readonly budget: ByteBudget;
  readonly lines: readonly Line[];
}

/** Closed when the test ends, however it ends: an open source would look for its server for ever. */
export function sourceOver(
  t: TestContext,
  uri: string,
  {
    budget = new ByteBudget(64 << 20),
    awaitMs = 300,
    filter,
  }: { budget?: ByteBudget; awaitMs?: number; filter?: OplogSourceOptions['filter'] } = {},
): Over {
  const { log, lines } = memoryLog();
  const config = { name: 'shop', uri, mode: 'oplog', start: { kind: 'latest' }, onPositionLost: 'stop' } as const;
  let reconnects = 0;
  const source = new OplogSource({ config, budget, awaitMs, filter, log, onReconnect: () => (reconnects += 1) });
  t.after(() => source.close());
  return { source, reconnects: () => reconnects, budget, lines };
}

/** The `n` of every document inserted into `coll`, in the batch's order. */
export function numbersIn({ bytes }: RawBatch, coll: string): number[] {
  const entries = Object.values(BSON.deserialize(bytes));
  return entries.filter(({ op, ns }) => op === 'i' && ns === coll).map(({ o }) => o.n);
}

export function giveBack(budget: ByteBudget, batch: RawBatch): void {
  budget.give(costOf(batch));
}

export function upTo(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

export async function insert(client: MongoClient, ns: string, numbers: readonly number[], pad = 0): Promise<void> {
  const [db, coll] = ns.split('.');
  const collection = client.db(db).collection(coll!);
  for (let at = 0; at < numbers.length; at += 1_000) {
    const documents = numbers.slice(at, at + 1_000).map((n) => ({ n, pad: 'x'.repeat(pad) }));
    await collection.insertMany(documents, { writeConcern: { w: 'majority' } });
  }
}

export async function until(holds: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`it did not come about within ${withinMs} ms: ${holds.toString()}`);
    await pause(20);
  }
}
