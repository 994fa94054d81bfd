/** Snapshots as people and their programs are shown them. */
import type { SnapshotRecord } from '../checkpoint/record.ts';
import type { SnapshotStatus } from '../observe/status.ts';
import type { SnapshotProgress } from './progress.ts';

export interface Shown {
  readonly source: string;
  readonly subscription: string;
  readonly progress: SnapshotProgress;
  /** Why nothing of the subscription passes, for people; undefined while it does. */
  readonly stands?: string | undefined;
}

export function snapshotId(subscription: string, run: string): string {
  return `${subscription}.${run}`;
}

export function shownSnapshot(
  record: SnapshotRecord,
  { source, subscription, progress, stands }: Shown,
): SnapshotStatus {
  const { run, cause, state, namespaces, filter, documents, collections, open, startedAt, endedAt } = record;
  const { expected, perSecond, trouble } = progress.of(run);
  const isRunning = state === 'running';
  const flows = isRunning && stands === undefined;
  const left = expected === undefined ? undefined : Math.max(0, expected - documents);
  return {
    id: snapshotId(subscription, run),
    source,
    subscription,
    cause,
    state,
    namespaces: namespaces ?? null,
    filter: filter ?? null,
    documents,
    expectedDocuments: expected ?? null,
    collections,
    reading: open.map(({ ns, documents: delivered }) => ({ ns, documents: delivered })),
    documentsPerSecond: flows ? Math.round(perSecond) : 0,
    secondsLeft: flows && left !== undefined && perSecond > 0 ? Math.ceil(left / perSecond) : null,
    waitsFor: isRunning ? (stands ?? trouble ?? null) : null,
    startedAt: new Date(startedAt).toISOString(),
    endedAt: endedAt === undefined ? null : new Date(endedAt).toISOString(),
  };
}
