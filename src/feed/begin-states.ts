/**
 * Where the kept states of a subscription's documents are when it begins to be read, and from where they are brought up to it. What
 * lies between the two is read again and delivered to nobody.
 * Invariant: states that might be of a later time than what is delivered next, or that lack a change, are given up.
 */
import { PositionLostError } from '../errors.ts';
import { compareTs } from '../source/position.ts';
import { floorOf } from '../lanes/floors.ts';
import { KeptStates } from '../states/kept-states.ts';
import { placeOf } from '../states/place.ts';
import type { LocalImagesConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { OpTime, ResumePoint } from '../source/position.ts';
import type { Source } from '../source/source.ts';
import type { StateStore, StatesRecord } from '../states/state-store.ts';
import type { Checkpoints, Route } from './route.ts';
import type { LocalDocuments } from './local-documents.ts';
import type { Standing } from './starts.ts';

export interface BeginStates {
  readonly local: LocalDocuments;
  readonly store: StateStore;
  readonly config: LocalImagesConfig;
  readonly route: Route;
  readonly standing: Standing;
  readonly replicaSetId: string;
  readonly source: Pick<Source, 'verify'>;
  readonly checkpoints: Checkpoints;
  readonly intervalMs: number;
  readonly log: Log;
}

/** Where it stands, and from where it is to be read. */
export async function beginStates(options: BeginStates, stop: AbortSignal): Promise<Standing> {
  const { local, store, config, route, standing, replicaSetId, checkpoints, intervalMs, log } = options;
  const { name: subscription, namespaces } = route.config;
  // Whoever had them before lets go.
  await local.close();
  const stored = await store.take(subscription, stop);
  try {
    const record = { replicaSetId, namespaces };
    let position = stored.record?.position;
    const reason = await whyNot(options, stored.record, stop);
    if (position === undefined || reason !== undefined) {
      if (stored.documents > 0) {
        log.warn(
          { code: 'states-forgotten', subscription, reason },
          'The documents kept for `images: local` are given up: events go without theirs until a document is written as a whole, or a snapshot shows it.',
        );
      }
      position = placeOf(standing);
      await stored.clear({ ...record, position });
    }
    const kept = new KeptStates(
      { subscription, stored, checkpoints, maxBytes: config.maxBytes, intervalMs, record, log },
      position,
    );
    await local.begin(kept, position.ts);
    const isBehind = compareTs(position.ts, floorOf(standing).ts) < 0;
    return isBehind ? { ...standing, readFrom: pointOf(position) } : standing;
  } catch (error) {
    await stored[Symbol.asyncDispose]();
    throw error;
  }
}

/** Why what is stored cannot be used; undefined where it can. */
async function whyNot(
  { route, standing, replicaSetId, source, checkpoints }: BeginStates,
  record: StatesRecord | undefined,
  stop: AbortSignal,
): Promise<string | undefined> {
  const { name, namespaces } = route.config;
  if (!record || !checkpoints.get(name) || standing.snapshot !== undefined) return 'the subscription begins anew';
  if (record.replicaSetId !== replicaSetId) return 'it is another replica set';
  if (!isWider(record.namespaces, namespaces)) return 'the subscription follows other namespaces';
  const { position } = record;
  const order = compareTs(position.ts, floorOf(standing).ts);
  if (order > 0) return 'the subscription was set back to where it was before them';
  if (order === 0) return undefined;
  try {
    await source.verify(pointOf(position), stop);
    return undefined;
  } catch (error) {
    if (!(error instanceof PositionLostError)) throw error;
    return 'the oplog does not reach back to them';
  }
}

/** Nothing is followed no more, so that nothing can have changed unseen since. */
function isWider(before: readonly string[], now: readonly string[]): boolean {
  const excludes = (list: readonly string[]): string[] => list.filter((one) => one.startsWith('!'));
  return before.every((one) => now.includes(one)) && excludes(now).every((one) => before.includes(one));
}

/** Of one whose term is not known, that very entry is read as well. */
function pointOf({ ts, t }: OpTime): ResumePoint {
  return t < 0 ? { kind: 'from', ts } : { kind: 'after', ts, t };
}
