/** `tailrace checkpoint show`: where every subscription stands, and which changes were lost; also beside a running engine. */
import type { CheckpointRecord, GapRecord } from '../checkpoint/record.ts';
import { readCheckpoints } from '../checkpoint/read-only.ts';
import { loadConfig } from '../config/load.ts';
import { formatTs } from '../source/position.ts';
import type { ResumePoint } from '../source/position.ts';
import { isoTime, withTime } from './positions.ts';
import { table } from './table.ts';
import { toStdout } from './output.ts';

export interface CheckpointShowOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

export async function checkpointShow({ config, json, write = toStdout }: CheckpointShowOptions): Promise<number> {
  const { checkpoint, subscriptions } = await loadConfig(config, process.env);
  const { records, gaps } = await readCheckpoints(checkpoint.path);
  const configured = new Set(subscriptions.map(({ name }) => name));
  if (json) {
    const shown = { subscriptions: records.map((record) => asJson(record, configured)), gaps: gaps.map(gapAsJson) };
    write(`${JSON.stringify(shown, undefined, 2)}\n`);
    return 0;
  }
  write(records.length === 0 ? `No checkpoints in ${checkpoint.path} yet.\n` : checkpointTable(records, configured));
  if (gaps.length > 0) write(`\nGaps (changes that were not delivered and never will be):\n${gapTable(gaps)}`);
  return 0;
}

function checkpointTable(records: readonly CheckpointRecord[], configured: ReadonlySet<string>): string {
  const rows = records.map((record) => [
    record.subscription + (configured.has(record.subscription) ? '' : ' (not configured)'),
    record.source,
    `${resumeKind(record.resume)} ${withTime(record.resume.ts)}`,
    record.watermark === undefined ? '-' : withTime(record.watermark.ts),
    `${record.lanes.filter((lane) => lane !== undefined).length} of ${record.partitions}`,
    new Date(record.updatedAt).toISOString(),
  ]);
  return table([['SUBSCRIPTION', 'SOURCE', 'RESUMES', 'CONFIRMED UP TO', 'LANES USED', 'UPDATED'], ...rows]);
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

function asJson(record: CheckpointRecord, configured: ReadonlySet<string>): object {
  const { resume, watermark } = record;
  return {
    name: record.subscription,
    configured: configured.has(record.subscription),
    source: record.source,
    replicaSetId: record.replicaSetId,
    resume: {
      kind: resume.kind,
      position: formatTs(resume.ts),
      time: isoTime(resume.ts),
      ...(resume.kind === 'after' && { term: resume.t }),
      ...(resume.kind === 'token' && {
        // A high-water mark stands before all operations of its time.
        index: resume.token.index < 0 ? null : resume.token.index,
        watch: resume.token.watch,
        token: resume.token.data,
      }),
    },
    watermark:
      watermark === undefined
        ? null
        : {
            position: formatTs(watermark.ts),
            time: isoTime(watermark.ts),
            term: watermark.t,
            index: watermark.index,
          },
    partitions: record.partitions,
    lanes: record.lanes.flatMap((lane, partition) =>
      lane === undefined ? [] : [{ partition, position: formatTs(lane.ts), index: lane.index }],
    ),
    updatedAt: new Date(record.updatedAt).toISOString(),
  };
}

function gapAsJson(gap: GapRecord): object {
  return {
    source: gap.source,
    subscription: gap.subscription,
    from: formatTs(gap.from),
    to: formatTs(gap.to),
    fromTime: isoTime(gap.from),
    toTime: isoTime(gap.to),
    reason: gap.reason,
    at: new Date(gap.at).toISOString(),
  };
}
