/** Of `tailrace check`: can the snapshots be read that there would be, how much is in them, and how long may they take? */
import { DEFAULT_SNAPSHOT } from '../config/limits.ts';
import { codeOf } from '../source/failures.ts';
import { formatSpan } from '../terminal/amounts.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { CollectionReads } from '../source/collection-reads.ts';
import type { FoundCollection } from '../source/collection-list.ts';
import type { Ts } from '../source/position.ts';
import { UNAUTHORIZED, some } from './collections.ts';
import type { StartsLook } from './check-starts.ts';
import type { Findings } from './findings.ts';

/** There may be thousands. */
const MOST_LOOKED_AT = 200;

type SnapshotsLook = Omit<StartsLook, 'stored'> & {
  /** Undefined where they are not known. */
  readonly stored: StartsLook['stored'] | undefined;
};

export async function checkSnapshots(look: SnapshotsLook, findings: Findings, stop: AbortSignal): Promise<void> {
  const { config, of, source, stored, starts } = look;
  const reads = source.collections;
  if (!reads) return;
  const wanting = config.subscriptions.filter(({ name, source: from }) => {
    if (from !== of.name) return false;
    const begins = (starts.get(name) ?? of.start).kind === 'snapshot' && stored?.has(name) !== true;
    return begins || of.onPositionLost === 'snapshot';
  });
  if (wanting.length === 0) return;
  const { ts: newest } = await source.resolve({ kind: 'latest' }, stop);
  const { ts: oldest } = await source.resolve({ kind: 'earliest' }, stop);
  for (const subscription of wanting) {
    const documents = await checkSnapshot(subscription, { reads, at: newest }, findings, stop);
    const { maxRate } = subscription.snapshot ?? DEFAULT_SNAPSHOT;
    const windowSeconds = newest.seconds - oldest.seconds;
    if (maxRate === undefined || documents / maxRate < windowSeconds) continue;
    findings.warning(
      `subscription ${subscription.name}: at \`snapshot.maxRate\`, ${maxRate} documents a second, a snapshot takes ${formatSpan(documents / maxRate)}, longer than the oplog reaches back (${formatSpan(windowSeconds)}): nothing may hold its source for that long meanwhile`,
    );
  }
}

/** How many documents it would read, about. */
async function checkSnapshot(
  { name, namespaces }: SubscriptionConfig,
  { reads, at }: { readonly reads: CollectionReads; readonly at: Ts },
  findings: Findings,
  stop: AbortSignal,
): Promise<number> {
  const { found, unlisted } = await reads.list({ matches: compilePatterns(namespaces), patterns: namespaces }, stop);
  const collections = found.filter(({ kind }) => kind === 'collection');
  const others = found.filter(({ kind }) => kind !== 'collection').map(({ ns }) => ns);
  const refused: string[] = [];
  let documents = 0;
  for (const collection of collections.slice(0, MOST_LOOKED_AT)) {
    const count = await countReadable(collection, { reads, at }, stop);
    if (count === undefined) refused.push(collection.ns);
    else documents += count;
  }
  const of = collections.length > MOST_LOOKED_AT ? ` in the first ${MOST_LOOKED_AT} of them` : '';
  const amount = `${collections.length} collections, about ${documents} documents${of}`;
  if (refused.length === 0) findings.ok(`subscription ${name}: a snapshot can be read: ${amount}`);
  else {
    findings.fault(
      `subscription ${name}: a snapshot reads documents, and the user may not read ${some(refused)}: grant it the role \`read\` there. Until then it is held`,
    );
  }
  if (others.length > 0) {
    findings.warning(`subscription ${name}: views and time-series collections have no snapshot: ${some(others)}`);
  }
  if (unlisted.length > 0) {
    const where = unlisted.map((db) => (db === '*' ? 'databases that it has no right on' : db));
    findings.warning(
      `subscription ${name}: the user may not list all collections of ${some(where)}: a snapshot leaves out those that it may not know of`,
    );
  }
  return documents;
}

/** Undefined where the user may not. */
async function countReadable(
  { ns, capped }: FoundCollection,
  { reads, at }: { readonly reads: CollectionReads; readonly at: Ts },
  stop: AbortSignal,
): Promise<number | undefined> {
  try {
    await reads.read({ ns, at, capped, most: 1 }, stop);
    return await reads.count(ns, stop);
  } catch (error) {
    if (codeOf(error) === UNAUTHORIZED) return undefined;
    throw error;
  }
}
