/**
 * Routing keys that name a field of the document park every event that lacks it. How many do is found out by encoding what was written
 * lately, as `run` would.
 */
import type { SubscriptionConfig } from '../config/config.ts';
import { keyTemplate } from '../feed/worker-plan.ts';
import { Field, GATE, RECORD_FIELDS } from '../worker/protocol.ts';
import type { BatchResult } from '../worker/protocol.ts';
import { templateNames } from '../worker/template.ts';
import type { Findings } from './findings.ts';
import { encodeLately } from './lately.ts';
import type { LatelyLook, Stretch } from './lately.ts';

/** What is looked at: the first of these entries, of that last stretch of the oplog. */
const SAMPLE: Stretch = { seconds: 600, mostEntries: 5_000, mostBytes: Infinity };

interface Count {
  sent: number;
  missing: number;
  detail: string;
}

export async function checkRouting(look: LatelyLook, findings: Findings, stop: AbortSignal): Promise<void> {
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
  look: LatelyLook,
  stop: AbortSignal,
): Promise<Count[]> {
  const counts = subscriptions.map((): Count => ({ sent: 0, missing: 0, detail: '' }));
  await encodeLately(look, SAMPLE, {
    subscriptions,
    use: (result) => add(counts, result, look.config.pipeline.partitions),
    stop,
  });
  return counts;
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
