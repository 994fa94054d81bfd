/**
 * Batches whose events are to carry whole documents: a worker says which documents those are, they are read, and lie behind the batch
 * when it is encoded. Others go straight to the workers.
 * Invariant: what is read and made at a time is bounded. Where documents are larger than that the batch is dealt with in parts.
 */
import { Backoff } from '../backoff.ts';
import { PRE_IMAGES } from '../source/documents.ts';
import { UserError } from '../errors.ts';
import { versionNumber } from '../source/server-version.ts';
import { joinedBytes } from '../worker/bson.ts';
import { Slots } from '../slots.ts';
import { sleep } from '../waits.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import type { FoundDocuments, Wanted } from '../source/documents.ts';
import type { RawBatch, Source } from '../source/source.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { Members } from './members.ts';
import type { BatchResult, ImageSection, Questions } from '../worker/protocol.ts';

export interface WholeDocumentsOptions {
  readonly source: Pick<Source, 'name' | 'documents'>;
  readonly pool: WorkerPool;
  readonly members: Pick<Members, 'has'>;
  readonly log: Log;
}

/** Of the documents that a part of a batch takes, and of what is made of them; where that is more, the part is cut in two. */
const MOST_BYTES = 24 * 2 ** 20;
/** Of one entry's, a transaction's: there is nothing to cut. */
const MOST_OF_ONE = 256 * 2 ** 20;
/** What is made ahead of its turn. */
const AHEAD_BYTES = 64 * 2 ** 20;
/** What is delivered and not confirmed yet; of its own, since what was read ahead may have spent the source's. */
const BUDGET_BYTES = 32 * 2 ** 20;
const AT_A_TIME = 4;
/** What goes wrong once is nothing to speak of. */
const QUIET_TRIES = 2;
/** The first server that keeps them. */
const PRE_IMAGES_SINCE = 600;

export interface Range {
  readonly from: number;
  readonly to: number;
}

/** A batch, or a piece of a transaction. */
export interface Work {
  readonly batch: RawBatch;
  readonly job: JobOptions;
  /** Everything before it is in order. */
  readonly turn: Promise<void>;
  readonly stop: AbortSignal;
  /** It belongs to a batch that is being dealt with. */
  readonly isInside?: boolean;
}

/** What makes batches whose events carry documents that their entries have not. */
export interface Showing {
  readonly budget: ByteBudget;
  /** Why documents cannot be had now; undefined while they can. */
  readonly trouble: string | undefined;
  /** Whether its batches are for this, and not for the pool alone. */
  wants(job: JobOptions): boolean;
  /**
   * Results in order, each made once the one before it was taken; the first one maybe before its turn. Rejects when `stop` fires.
   * What is delivered of them has to be taken from `budget`.
   */
  parts(work: Work): AsyncGenerator<BatchResult, void>;
}

export class WholeDocuments implements Showing {
  readonly budget = new ByteBudget(BUDGET_BYTES);
  readonly #o: WholeDocumentsOptions;
  readonly #slots = new Slots(AT_A_TIME);
  readonly #ahead = new ByteBudget(AHEAD_BYTES);
  /** By namespace: why its documents cannot be had now. */
  readonly #troubles = new Map<string, string>();

  constructor(options: WholeDocumentsOptions) {
    this.#o = options;
  }

  get trouble(): string | undefined {
    return [...this.#troubles.values()][0];
  }

  wants({ plan }: JobOptions): boolean {
    return plan.wantsImages && this.#o.source.documents !== undefined;
  }

  async *parts(work: Work): AsyncGenerator<BatchResult, void> {
    const { batch, turn, stop } = work;
    const left: Range[] = [{ from: 0, to: batch.entries }];
    for (let range = left.pop(); range; range = left.pop()) {
      if (!this.#ahead.hasRoom) await turn;
      await this.budget.room(stop);
      stop.throwIfAborted();
      const results = await this.#part(work, range);
      if (results === undefined) {
        const middle = (range.from + range.to) >>> 1;
        left.push({ from: middle, to: range.to }, { from: range.from, to: middle });
        continue;
      }
      const bytes = results.reduce((sum, { bodies }) => sum + bodies.byteLength, 0);
      this.#ahead.take(bytes);
      try {
        yield* results;
      } finally {
        this.#ahead.give(bytes);
      }
    }
  }

  /** Undefined where it is too much at once. */
  async #part({ batch, job, stop }: Work, range: Range): Promise<readonly BatchResult[] | undefined> {
    const { pool } = this.#o;
    const isOne = range.to - range.from === 1;
    const asked = await pool.encode(batch, { ...job, asks: true }, range);
    // An entry that no worker can deal with: nobody knows what it takes.
    if (asked.some(({ parked }) => parked.length > 0)) return isOne ? asked : undefined;
    const questions = asked.flatMap((result) => result.questions ?? []);
    const most = isOne ? MOST_OF_ONE : MOST_BYTES;
    const found = await this.#found(questions, { batch, job, most, stop });
    if (found) {
      const { bytes, images } = joined(batch.bytes, found);
      this.#ahead.take(bytes.byteLength);
      try {
        const results = await pool.encode({ ...batch, bytes }, { ...job, images, mostImageBytes: most }, range);
        if (!results.some(({ isTooMuch }) => isTooMuch)) return results;
      } finally {
        this.#ahead.give(bytes.byteLength);
      }
    }
    if (!isOne) return undefined;
    return await pool.encode(batch, { ...job, images: [], imagesRefused: true }, range);
  }

  /** Undefined where it is too much. */
  async #found(
    questions: readonly Questions[],
    { batch, job, most, stop }: Pick<Work, 'batch' | 'job' | 'stop'> & { readonly most: number },
  ): Promise<readonly Section[] | undefined> {
    const notBefore = batch.last?.ts;
    if (notBefore === undefined) return [];
    const room = { bytes: most };
    const ask = async (wanted: Omit<Wanted, 'notBefore' | 'room'>): Promise<FoundDocuments> =>
      this.#find({ ...wanted, notBefore, room }, () => this.#isWanted(job), stop);
    const sections = await Promise.all(
      questions.flatMap(({ lookups, preImages }) => [
        ...lookups.map(async (lookup): Promise<Section> => {
          const { db, coll, uuid } = lookup;
          const found = await ask(lookup);
          const at = found.kind === 'found' ? found.at : notBefore;
          return { found, lookup: { ns: `${db}.${coll}`, uuid, at } };
        }),
        ...preImages.map(async (ids): Promise<Section> => ({ found: await ask({ ...PRE_IMAGES, ...ids }) })),
      ]),
    );
    return room.bytes < 0 ? undefined : sections;
  }

  /** Somebody who asked for documents is still there. */
  #isWanted({ plan }: JobOptions): boolean {
    return plan.plan.source.subscriptions.some(
      ({ images }, number) => images !== undefined && this.#o.members.has(number),
    );
  }

  /** Until it has an answer, or nobody wants one any more. */
  async #find(wanted: Wanted, isWanted: () => boolean, stop: AbortSignal): Promise<FoundDocuments> {
    const { source, log } = this.#o;
    const ns = `${wanted.db}.${wanted.coll}`;
    const backoff = new Backoff();
    for (;;) {
      const answer = await this.#slots.run(async () => source.documents!.find(wanted, stop));
      stop.throwIfAborted();
      const found: FoundDocuments = isWanted() ? answer : { kind: 'found', batches: [], at: wanted.notBefore };
      if (found.kind !== 'failed') {
        this.#troubles.delete(ns);
        return found;
      }
      if (backoff.tries >= QUIET_TRIES || found.isRefusal) {
        this.#troubles.set(ns, `the documents of ${ns} that events are to carry cannot be read (${found.reason})`);
        log.error(
          { code: found.isRefusal ? 'source-refused' : 'source-away', source: source.name, ns, reason: found.reason },
          'Documents that events are to carry cannot be read; trying again.',
        );
      }
      await sleep(backoff.next(), stop);
      stop.throwIfAborted();
    }
  }
}

/** Throws `UserError` where one asks for what only newer servers keep. */
export function refuseImages(
  source: string,
  serverVersion: string,
  subscriptions: readonly Pick<SubscriptionConfig, 'name' | 'images'>[],
): void {
  if (versionNumber(serverVersion) >= PRE_IMAGES_SINCE) return;
  for (const { name, images } of subscriptions) {
    if (images === undefined || images.local || (images.before === 'off' && images.after === 'updateLookup')) continue;
    throw new UserError(
      'config-invalid',
      `subscription "${name}": pre-images (fullDocument: whenAvailable or required, fullDocumentBeforeChange) need MongoDB 6.0; ` +
        `source "${source}" is ${serverVersion}. Use \`fullDocument: updateLookup\` or default, and \`fullDocumentBeforeChange: off\`; or \`images: local\`.`,
    );
  }
}

interface Section {
  readonly found: FoundDocuments;
  readonly lookup?: NonNullable<ImageSection['lookup']>;
}

/** The batch, and the documents behind it. */
function joined(batch: Uint8Array, found: readonly Section[]): { bytes: Uint8Array; images: readonly ImageSection[] } {
  const images: ImageSection[] = [];
  const parts: Uint8Array[] = [batch];
  let length = batch.byteLength;
  for (const { found: one, lookup } of found) {
    if (one.kind !== 'found') continue;
    const batches = one.batches.length > 0 ? one.batches : [EMPTY];
    for (const documents of batches) {
      images.push({ from: length, to: length + documents.byteLength, ...(lookup && { lookup }) });
      parts.push(documents);
      length += documents.byteLength;
    }
  }
  return { bytes: joinedBytes(parts), images };
}

const EMPTY = Uint8Array.of(5, 0, 0, 0, 0);
