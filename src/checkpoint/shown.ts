/** Checkpoints and gaps as JSON for people and their programs: of `tailrace checkpoint show --json`, and of the API. */
import { formatTs, isoTime } from '../source/position.ts';
import type { CheckpointRecord, GapRecord } from './record.ts';

export function shownCheckpoint(record: CheckpointRecord, configured: ReadonlySet<string>) {
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
    pausedAt: record.pausedAt === undefined ? null : new Date(record.pausedAt).toISOString(),
  };
}

export function shownGap(gap: GapRecord) {
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
