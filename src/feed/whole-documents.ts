/**
 * Batches whose events are to carry whole documents: a worker says which documents those are, they are read, and lie behind the batch
 * when it is encoded. Others go straight to the workers.
 * Invariant: what is read at a time is bounded. Where documents are larger than that the batch is dealt with in parts.
 */
import { Backoff } from '../backoff.ts';
import { PRE_IMAGES } from '../source/documents.ts';
import { UserError } from '../errors.ts';
import { versionNumber } from '../source/server-version.ts';
import { Slots } from '../slots.ts';
import { sleep } from '../waits.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { FoundDocuments, Wanted } from '../source/documents.ts';
import type { Ts } from '../source/position.ts';
import type { RawBatch, Source } from '../source/source.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { BatchResult, ImageSection, Questions } from '../worker/protocol.ts';

export interface WholeDocumentsOptions {
  readonly source: Pick<Source, 'name' | 'documents'>;
  readonly pool: WorkerPool;
  readonly budget: ByteBudget;
  readonly log: Log;
}

/** Of a batch's documents; more, and it is cut in two. */
const MOST_BYTES = 24 * 2 ** 20;
/** Of one entry's, a transaction's: there is nothing to cut. */
const MOST_OF_ONE = 512 * 2 ** 20;
const AT_A_TIME = 4;
/** The first server that keeps them. */
const PRE_IMAGES_SINCE = 600;

interface Range {
  readonly from: number;
  readonly to: number;
}

export class WholeDocuments {
  readonly #o: WholeDocumentsOptions;
  readonly #slots = new Slots(AT_A_TIME);
  #trouble: string | undefined;

  constructor(options: WholeDocumentsOptions) {
    this.#o = options;
  }

  /** Why documents cannot be had now; undefined while they can. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** As the pool does; rejects too when `stop` fires. */
  async encode(batch: RawBatch, job: JobOptions, stop: AbortSignal): Promise<readonly BatchResult[]> {
    const { pool, source } = this.#o;
    if (!job.plan.wantsImages || !source.documents) return pool.encode(batch, job);
    return this.#part(batch, job, { from: 0, to: batch.entries }, stop);
  }

  async #part(batch: RawBatch, job: JobOptions, range: Range, stop: AbortSignal): Promise<readonly BatchResult[]> {
    const { pool, budget } = this.#o;
    const asked = await pool.encode(batch, { ...job, asks: true }, range);
    const questions = asked.flatMap((result) => result.questions ?? []);
    if (questions.length === 0 || !batch.last) return pool.encode(batch, { ...job, images: [] }, range);
    const isOne = range.to - range.from === 1;
    const found = await this.#found(questions, batch.last.ts, isOne ? MOST_OF_ONE : MOST_BYTES, stop);
    if (found === undefined) {
      if (isOne) throw new Error('the documents of one entry take more memory than there may be');
      const middle = (range.from + range.to) >>> 1;
      return [
        ...(await this.#part(batch, job, { from: range.from, to: middle }, stop)),
        ...(await this.#part(batch, job, { from: middle, to: range.to }, stop)),
      ];
    }
    const { bytes, images } = joined(batch.bytes, found);
    budget.take(bytes.byteLength);
    try {
      return await pool.encode({ ...batch, bytes }, { ...job, images }, range);
    } finally {
      budget.give(bytes.byteLength);
    }
  }

  /** Undefined where it is too much. */
  async #found(
    questions: readonly Questions[],
    notBefore: Ts,
    most: number,
    stop: AbortSignal,
  ): Promise<readonly Section[] | undefined> {
    const sections = await Promise.all(
      questions.flatMap(({ lookups, preImages }) => [
        ...lookups.map(async (lookup): Promise<Section> => {
          const { db, coll, uuid } = lookup;
          const found = await this.#find({ ...lookup, notBefore, most }, stop);
          const at = found.kind === 'found' ? found.at : notBefore;
          return { found, lookup: { ns: `${db}.${coll}`, uuid, at } };
        }),
        ...preImages.map(async (ids): Promise<Section> => ({
          found: await this.#find({ ...PRE_IMAGES, ...ids, notBefore, most }, stop),
        })),
      ]),
    );
    let bytes = 0;
    for (const { found } of sections) {
      if (found.kind !== 'found') return undefined;
      for (const batch of found.batches) bytes += batch.byteLength;
    }
    return bytes > most ? undefined : sections;
  }

  async #find(wanted: Wanted, stop: AbortSignal): Promise<FoundDocuments> {
    const { source, log } = this.#o;
    const backoff = new Backoff();
    for (;;) {
      const found = await this.#slots.run(async () => source.documents!.find(wanted, stop));
      if (found.kind !== 'refused') {
        this.#trouble = undefined;
        return found;
      }
      this.#trouble = `the documents that events are to carry may not be read (${found.reason})`;
      log.error(
        { code: 'source-refused', source: source.name, ns: `${wanted.db}.${wanted.coll}`, reason: found.reason },
        'The documents that events are to carry may not be read; trying again.',
      );
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
    if (images === undefined || (images.before === 'off' && images.after === 'updateLookup')) continue;
    throw new UserError(
      'config-invalid',
      `subscription "${name}": pre-images (fullDocument: whenAvailable or required, fullDocumentBeforeChange) need MongoDB 6.0; ` +
        `source "${source}" is ${serverVersion}. Use \`fullDocument: updateLookup\` or default, and \`fullDocumentBeforeChange: off\`.`,
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
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return { bytes, images };
}

const EMPTY = Uint8Array.of(5, 0, 0, 0, 0);
