/** `tailrace checkpoint show`: where every subscription stands, and which changes were lost; also beside a running engine. */
import type { CheckpointRecord, GapRecord } from '../checkpoint/record.ts';
import { readCheckpoints } from '../checkpoint/read-only.ts';
import { shownCheckpoint, shownGap } from '../checkpoint/shown.ts';
import { managedConfig } from './managed-config.ts';
import type { ResumePoint } from '../source/position.ts';
import { withTime } from '../check/positions.ts';
import { table } from './table.ts';
import { asJson, toStdout } from './output.ts';

export interface CheckpointShowOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

export async function checkpointShow({ config, json, write = toStdout }: CheckpointShowOptions): Promise<number> {
  const { checkpoint, subscriptions } = await managedConfig(config);
  const { records, gaps } = await readCheckpoints(checkpoint.path);
  const configured = new Set(subscriptions.map(({ name }) => name));
  if (json) {
    const shown = {
      subscriptions: records.map((record) => shownCheckpoint(record, configured)),
      gaps: gaps.map(shownGap),
    };
    write(asJson(shown));
    return 0;
  }
  write(records.length === 0 ? `No checkpoints in ${checkpoint.path} yet.\n` : checkpointTable(records, configured));
  if (gaps.length > 0) write(`\nGaps (changes that were not delivered and never will be):\n${gapTable(gaps)}`);
  return 0;
}

function checkpointTable(records: readonly CheckpointRecord[], configured: ReadonlySet<string>): string {
  const rows = records.map((record) => [
    record.subscription + remarkOn(record, configured),
    record.source,
    `${resumeKind(record.resume)} ${withTime(record.resume.ts)}`,
    record.watermark === undefined ? '-' : withTime(record.watermark.ts),
    `${record.lanes.filter((lane) => lane !== undefined).length} of ${record.partitions}`,
    new Date(record.updatedAt).toISOString(),
  ]);
  return table([['SUBSCRIPTION', 'SOURCE', 'RESUMES', 'CONFIRMED UP TO', 'LANES USED', 'UPDATED'], ...rows]);
}

function remarkOn({ subscription, pausedAt }: CheckpointRecord, configured: ReadonlySet<string>): string {
  if (!configured.has(subscription)) return ' (not configured)';
  return pausedAt === undefined ? '' : ' (paused)';
}

/** A token is as long as a line; the JSON has it. */
function resumeKind(resume: ResumePoint): string {
  if (resume.kind !== 'token') return resume.kind;
  return resume.token.index < 0 ? 'token before' : `token after operation ${resume.token.index} at`;
}

function gapTable(gaps: readonly GapRecord[]): string {
  const rows = gaps.map((gap) => [
    gap.source,
    gap.subscription,
    withTime(gap.from),
    withTime(gap.to),
    gap.reason,
    new Date(gap.at).toISOString(),
  ]);
  return table([['SOURCE', 'SUBSCRIPTION', 'FROM', 'TO', 'REASON', 'AT'], ...rows]);
}
