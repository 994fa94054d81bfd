/**
 * Routing keys that name a field of the document park every event that lacks it. How many do is found out by encoding what was written
 * lately, as `run` would.
 */
import type { Config, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import { keyTemplate, workerPlan } from '../feed/worker-plan.ts';
import { noLog } from '../library/no-log.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import { compareTs } from '../source/position.ts';
import { hasWallTime, versionNumber } from '../source/server-version.ts';
import { costOf } from '../source/source.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import { SharedPlan } from '../worker/plan.ts';
import { WorkerPool } from '../worker/pool.ts';
import { Field, GATE, RECORD_FIELDS } from '../worker/protocol.ts';
import type { BatchResult } from '../worker/protocol.ts';
import { templateNames } from '../worker/template.ts';
import type { Findings } from './findings.ts';

export interface RoutingLook {
  readonly config: Config;
  readonly of: SourceConfig;
  readonly source: Source;
  readonly identity: SourceIdentity;
  readonly budget: ByteBudget;
}

/** What is looked at: the first of these entries, of that last stretch of the oplog. */
const SAMPLE_ENTRIES = 5_000;
const SAMPLE_SECONDS = 600;

interface Count {
  sent: number;
  missing: number;
  detail: string;
}

export async function checkRouting(look: RoutingLook, findings: Findings, stop: AbortSignal): Promise<void> {
  const { config, of } = look;
  const picky = config.subscriptions.filter((one) => one.source === of.name && looksInside(one));
  // A change stream begins where it is told to, and tells of no oldest event to begin at.
  if (picky.length === 0 || of.changeStream) return;
  const counts = await countOf(picky, look, stop);
  for (const [s, { name, to }] of picky.entries()) {
    const { sent, missing, detail } = counts[s]!;
    const of = sent + missing;
    if (missing * 2 <= of) continue;
    findings.warning(
      `subscription ${name}: ${missing} of its last ${of} events lack a field of ${JSON.stringify(keyTemplate(to))}, and would be parked ` +
        `(${detail})`,
    );
  }
}

async function countOf(
  subscriptions: readonly SubscriptionConfig[],
  { config, of, source, identity, budget }: RoutingLook,
  stop: AbortSignal,
): Promise<Count[]> {
  const counts = subscriptions.map((): Count => ({ sent: 0, missing: 0, detail: '' }));
  const serverVersion = versionNumber(identity.serverVersion);
  const plan = new SharedPlan(workerPlan(config, of, subscriptions));
  const pool = new WorkerPool({ threads: { least: 1, most: 1 }, log: noLog });
  try {
    const oldest = (await source.resolve({ kind: 'earliest' }, stop)).ts;
    const newest = (await source.resolve({ kind: 'latest' }, stop)).ts;
    const lately = { seconds: newest.seconds - SAMPLE_SECONDS, increment: 0 };
    const ts = compareTs(oldest, lately) > 0 ? oldest : lately;
    let entries = 0;
    for await (const batch of source.read({ kind: 'from', ts }, stop)) {
      if (batch.entries === 0) break;
      const job = { plan, wallTime: hasWallTime(serverVersion), serverVersion, collated: [] };
      for (const result of await pool.encode(batch, job)) add(counts, result, config.pipeline.partitions);
      budget.give(costOf(batch));
      entries += batch.entries;
      if (entries >= SAMPLE_ENTRIES || (batch.last && compareTs(batch.last.ts, newest) >= 0)) break;
    }
    return counts;
  } finally {
    plan.end();
    await pool.close();
  }
}

function add(counts: readonly Count[], { records, parked }: BatchResult, partitions: number): void {
  for (let at = 0; at < records.length; at += RECORD_FIELDS) {
    if (records[at + Field.type] === GATE) continue;
    counts[Math.floor(records[at + Field.lane]! / partitions)]!.sent += records[at + Field.events]!;
  }
  for (const { subscription, reason, detail } of parked) {
    if (reason !== 'missing-field') continue;
    counts[subscription]!.missing += 1;
    counts[subscription]!.detail = detail;
  }
}

function looksInside({ to }: SubscriptionConfig): boolean {
  return templateNames(keyTemplate(to)).some((name) => name.includes('.'));
}
