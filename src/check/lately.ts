/**
 * What was written lately, encoded as `run` would: the real cursor and the real workers, for a moment. Nothing is kept of it but what
 * `use` makes of each result.
 */
import type { Config, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import { workerPlan } from '../feed/worker-plan.ts';
import { noLog } from '../library/no-log.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import { compareTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import { hasWallTime, versionNumber } from '../source/server-version.ts';
import { costOf } from '../source/source.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import { SharedPlan } from '../worker/plan.ts';
import { WorkerPool } from '../worker/pool.ts';
import type { BatchResult } from '../worker/protocol.ts';

export interface LatelyLook {
  readonly config: Config;
  readonly of: SourceConfig;
  readonly source: Source;
  readonly identity: SourceIdentity;
  readonly budget: ByteBudget;
}

export interface Stretch {
  readonly seconds: number;
  /** It ends early at either. */
  readonly mostEntries: number;
  readonly mostBytes: number;
}

export interface Read {
  /** From where to where. */
  readonly from: Ts;
  readonly to: Ts;
  readonly entries: number;
  /** The end was reached. */
  readonly whole: boolean;
}

/** `subscriptions`: by the number that results name. Ends early, with what it has, once `stop` fires in the middle. */
export async function encodeLately(
  { config, of, source, identity, budget }: LatelyLook,
  { seconds, mostEntries, mostBytes }: Stretch,
  {
    subscriptions,
    use,
    stop,
  }: {
    readonly subscriptions: readonly SubscriptionConfig[];
    readonly use: (result: BatchResult) => void;
    readonly stop: AbortSignal;
  },
): Promise<Read> {
  const serverVersion = versionNumber(identity.serverVersion);
  const plan = new SharedPlan(workerPlan(config, of, subscriptions));
  const pool = new WorkerPool({ threads: { least: 1, most: 1 }, quick: false, log: noLog });
  try {
    const newest = (await source.resolve({ kind: 'latest' }, stop)).ts;
    const from = await beginning(source, { seconds: newest.seconds - seconds, increment: 0 }, stop);
    const job = { plan, wallTime: hasWallTime(serverVersion), serverVersion, collated: [] };
    let to = from;
    let entries = 0;
    let bytes = 0;
    for await (const batch of source.read({ kind: 'from', ts: from }, stop)) {
      // Nothing more is there.
      if (batch.entries === 0) return { from, to: newest, entries, whole: true };
      for (const result of await pool.encode(batch, job)) use(result);
      budget.give(costOf(batch));
      entries += batch.entries;
      bytes += batch.bytes.byteLength;
      if (batch.last) to = batch.last.ts;
      if (compareTs(to, newest) >= 0) return { from, to, entries, whole: true };
      if (entries >= mostEntries || bytes >= mostBytes) break;
    }
    return { from, to, entries, whole: false };
  } finally {
    plan.end();
    await pool.close();
  }
}

/** A change stream does not tell how far back it could go. */
async function beginning(source: Source, lately: Ts, stop: AbortSignal): Promise<Ts> {
  if (source.history === undefined) return lately;
  const oldest = (await source.resolve({ kind: 'earliest' }, stop)).ts;
  return compareTs(oldest, lately) > 0 ? oldest : lately;
}
