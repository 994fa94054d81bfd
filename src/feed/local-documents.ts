/**
 * Batches of a feed whose one subscription has `images: local`: a worker says which documents a batch touches, their last states are
 * laid behind it, and what the batch makes of them is put back before the next one looks.
 *
 *     batch ──▶ which documents? ──▶ in turn: look ──▶ encode ──▶ put ──▶ the next one's turn
 *
 * Only what lies between `look` and `put` is in turn. A batch is cut where something takes effect in its middle that is not in its own
 * operations (a transaction of several entries, a collection that comes or goes by its name), and around what cannot be read.
 * Invariant: states are looked at in the order of the oplog, with all that came before in them.
 */
import { ByteBudget } from '../source/byte-budget.ts';
import { compareTs, formatTs } from '../source/position.ts';
import { settled } from '../waits.ts';
import type { Log } from '../observe/log.ts';
import type { KeptStates } from '../states/kept-states.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { BatchResult, StateQuestions } from '../worker/protocol.ts';
import type { Range, Showing, Work } from './whole-documents.ts';

/** Of the documents that a part of a batch shows; where that is more, the part is cut in two. */
const MOST_BYTES = 24 * 2 ** 20;
/** Of one entry's: there is nothing to cut. */
const MOST_OF_ONE = 128 * 2 ** 20;
/** What is delivered and not confirmed yet; of its own, since what was read ahead may have spent the source's. */
const BUDGET_BYTES = 32 * 2 ** 20;

export class LocalDocuments implements Showing {
  readonly budget = new ByteBudget(BUDGET_BYTES);
  readonly trouble = undefined;
  readonly #pool: WorkerPool;
  readonly #log: Log;
  #kept: KeptStates | undefined;
  #after: Ts = { seconds: 0, increment: 0 };
  /** All that was taken until now has been put. */
  #turn: Promise<void> = Promise.resolve();

  constructor({ pool, log }: { readonly pool: WorkerPool; readonly log: Log }) {
    this.#pool = pool;
    this.#log = log;
  }

  get kept(): KeptStates | undefined {
    return this.#kept;
  }

  /** From now on: states that hold all entries up to `after`. Resolves once nobody uses those before. */
  async begin(kept: KeptStates, after: Ts): Promise<void> {
    await this.close();
    this.#kept = kept;
    this.#after = after;
  }

  wants(): boolean {
    return this.#kept !== undefined;
  }

  /** What is taken later waits until it is called, for what was taken before. */
  enter(): { readonly before: Promise<void>; readonly leave: () => void } {
    const before = this.#turn;
    let leave: () => void = () => undefined;
    this.#turn = new Promise((resolve) => (leave = resolve));
    return { before, leave };
  }

  reach(position: OpTime): void {
    this.#kept?.reach(position);
  }

  /** Whether what took effect at this time was in the states when they were begun. */
  has(ts: Ts): boolean {
    return compareTs(ts, this.#after) <= 0;
  }

  /** What took effect then is not known. */
  unknown(reason: string, ts: Ts): void {
    if (!this.has(ts)) this.#kept?.forget(reason);
  }

  async close(): Promise<void> {
    const kept = this.#kept;
    this.#kept = undefined;
    await kept?.[Symbol.asyncDispose]();
  }

  async *parts(work: Work): AsyncGenerator<BatchResult, void> {
    const { batch, turn, stop, isInside = false } = work;
    const { before, leave } = isInside ? INSIDE : this.enter();
    try {
      const left: Range[] = [{ from: 0, to: batch.entries }];
      for (let range = left.pop(); range; range = left.pop()) {
        const asked = await this.#asked(work, range);
        await settled(before, stop);
        stop.throwIfAborted();
        if (!this.budget.hasRoom) await turn;
        await this.budget.room(stop);
        if (!isInside) await this.#kept?.room(stop);
        stop.throwIfAborted();
        const cut = this.#cutOf(asked, range);
        if (cut !== undefined) {
          left.push({ from: cut, to: range.to }, { from: range.from, to: cut });
          continue;
        }
        const results = await this.#part(work, range, asked);
        if (results === undefined) {
          const middle = (range.from + range.to) >>> 1;
          left.push({ from: middle, to: range.to }, { from: range.from, to: middle });
          continue;
        }
        yield* results;
        // A transaction at its end has taken effect by now.
        if (!isInside) this.#kept?.whole();
      }
    } finally {
      leave();
    }
  }

  /** Undefined where no worker can deal with it. */
  async #asked({ batch, job }: Work, range: Range): Promise<StateQuestions | undefined> {
    const asked = await this.#pool.encode(batch, { ...this.#tracking(job), asks: true }, range);
    return asked.length === 1 ? asked[0]?.stateQuestions : undefined;
  }

  /** Behind the first entry that asks for it and is not the last. */
  #cutOf(asked: StateQuestions | undefined, range: Range): number | undefined {
    const [cut] = asked?.cuts ?? [];
    return cut !== undefined && cut + 1 < range.to ? cut + 1 : undefined;
  }

  /** Undefined where it is too much at once. */
  async #part(
    { batch, job, isInside = false }: Work,
    range: Range,
    asked: StateQuestions | undefined,
  ): Promise<readonly BatchResult[] | undefined> {
    const kept = this.#kept;
    const isOne = range.to - range.from === 1;
    const isClear = asked?.isUnclear === false;
    if (!isClear && !isOne) return undefined;
    const most = isOne ? MOST_OF_ONE : MOST_BYTES;
    const found = isClear ? kept?.look(batch.bytes, asked, most) : undefined;
    const tracking = this.#tracking(job);
    const isOpen = isInside || (asked?.cuts.length ?? 0) > 0;
    if (isClear && found) {
      const states = { ...tracking, states: found.places, mostImageBytes: most };
      const results = await this.#pool.encode({ ...batch, bytes: found.bytes }, states, range);
      const [result] = results;
      if (result?.states && results.length === 1) {
        kept?.put(asked, result.states, { position: result.last ?? batch.last!, isOpen });
        return results;
      }
    }
    if (!isOne) return undefined;
    // Without documents, and nothing is known of those that it touches.
    const results = await this.#pool.encode(batch, job, range);
    const position = results.at(-1)?.last ?? batch.last!;
    if (isClear && kept) {
      this.#log.warn(
        {
          code: 'states-too-large',
          subscription: kept.subscription,
          at: formatTs(position.ts),
          documents: asked.ends.length,
        },
        'A transaction shows more of documents than there is memory for: its events go without `images: local`, and its documents are not known from there on.',
      );
    }
    if (asked) kept?.put(asked, undefined, { position, isOpen });
    if (!isClear) kept?.forget('nobody can tell what an entry changed');
    return results;
  }

  #tracking(job: JobOptions): JobOptions {
    return { ...job, tracks: { after: this.#after } };
  }
}

const INSIDE = { before: Promise.resolve(), leave: (): void => undefined };
