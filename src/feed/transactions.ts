/**
 * Delivers the transactions that lie in several entries: reads each again when it takes effect (`pieces.ts`), and knows which
 * are open, so that the checkpoint stays before them (`open-transactions.ts`).
 *
 * Its bytes have a budget of their own. What was read ahead of a commit waits behind it, and may have spent the source's whole
 * budget: a transaction that waited for that would wait for ever.
 * Invariant: a transaction is delivered whole and in order, or the position is lost, or a gap is on record.
 */
import { PositionLostError } from '../errors.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import { compareTs, formatTs } from '../source/position.ts';
import { DamagedPartError, EntryGoneError, pieces, walkBack } from './pieces.ts';
import { NOTHING, UNCLEAR, eventIdTail } from '../worker/protocol.ts';
import { OpenTransactions } from './open-transactions.ts';
import type { SourceConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { Ts } from '../source/position.ts';
import type { RawBatch, Source } from '../source/source.ts';
import { hidesFields } from '../worker/craft.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { BatchResult, TransactionCommit, TransactionTally } from '../worker/protocol.ts';
import type { Gone } from './pieces.ts';
import type { Members } from './members.ts';
import type { LocalDocuments } from './local-documents.ts';
import type { Showing } from './whole-documents.ts';
import type { Checkpoints } from './route.ts';

export interface TransactionsOptions {
  readonly source: Source;
  readonly config: SourceConfig;
  readonly members: Members;
  readonly pool: WorkerPool;
  readonly documents: Showing;
  /** Where the last states of documents are kept. */
  readonly local: LocalDocuments | undefined;
  readonly checkpoints: Checkpoints;
  readonly log: Log;
}

export interface Committed {
  readonly commit: TransactionCommit;
  /** The batch that holds the commit. */
  readonly batch: RawBatch;
  readonly job: JobOptions;
  /** Where reading began, if that was the oplog's oldest entry: what began before is torn, and known to be. */
  readonly torn: Ts | undefined;
  /** Nobody is given any of it: an earlier life did. */
  readonly isDone: boolean;
  /** Takes over a piece's messages; whatever it keeps goes back to `budget`. */
  readonly deliver: (result: BatchResult) => void;
}

/** Beside the source's own budget: enough to keep lanes busy while the next piece is read. */
const BUDGET_BYTES = 16 * 1024 * 1024;

export class Transactions {
  readonly open = new OpenTransactions();
  readonly budget = new ByteBudget(BUDGET_BYTES);
  readonly #o: TransactionsOptions;

  constructor(options: TransactionsOptions) {
    this.#o = options;
  }

  /** Throws `PositionLostError` where a part is gone that should be there, and the policy is to stop. */
  async deliver({ commit, batch, job, torn, isDone, deliver }: Committed, stop: AbortSignal): Promise<void> {
    const { source, pool, documents, local } = this.#o;
    const gone = async (what: Gone): Promise<void> => {
      local?.unknown('a transaction is not in the oplog any more', commit.at.ts);
      if (!isDone) await this.#gone(what, commit, torn);
    };
    const { history } = source;
    if (!history) throw new Error('a transaction in parts from a source without an oplog');
    const walk = await walkBack(history, commit.previous, stop);
    const nobodyKnows: BatchResult = { ...NOTHING, events: new Uint32Array(this.#o.members.size), touched: UNCLEAR };
    if (walk.kind === 'gone') {
      await gone(walk);
      if (job.touching) deliver(nobodyKnows);
      return;
    }
    const entry = batch.bytes.subarray(commit.start, commit.end);
    try {
      let tally: TransactionTally | undefined;
      for await (const { bytes, ...piece } of pieces({ history, chain: walk.chain, commit: entry }, stop)) {
        await this.budget.room(stop);
        stop.throwIfAborted();
        const whole = { ...job, piece: { ...piece, ...(tally && { tally }) } };
        const again = { bytes, entries: 1, last: commit.at };
        const results = documents.wants(job)
          ? documents.parts({ batch: again, job: whole, turn: Promise.resolve(), stop, isInside: true })
          : await pool.encode(again, whole);
        for await (const result of results) {
          stop.throwIfAborted();
          tally = result.tally ?? tally;
          deliver(result);
        }
      }
    } catch (error) {
      if (error instanceof DamagedPartError) {
        local?.unknown('a transaction is damaged', commit.at.ts);
        if (!isDone) deliver(this.#damaged(error, commit, entry));
        else if (job.touching) deliver(nobodyKnows);
      } else if (error instanceof EntryGoneError) {
        await gone(error.gone);
        if (job.touching) deliver(nobodyKnows);
      } else throw error;
    }
  }

  /** Everybody's, as its operations cannot be told apart: the entry at which it takes effect, which leads to the others. */
  #damaged({ firstIndex, message }: DamagedPartError, { at }: TransactionCommit, entry: Uint8Array): BatchResult {
    const { source, members } = this.#o;
    const id = `${source.name}:${eventIdTail(at.ts.seconds, at.ts.increment, firstIndex)}`;
    const detail = `the transaction's operations from number ${firstIndex} on: ${message}`;
    const bytes = new Uint8Array(entry);
    return {
      ...NOTHING,
      touched: UNCLEAR,
      parked: members.all.map(({ number: subscription, route: { config } }) => ({
        subscription,
        id,
        ns: '',
        reason: 'undecodable',
        detail,
        ...(hidesFields(config) ? { entry: new Uint8Array(0), shaped: true } : { entry: bytes }),
        whole: true,
      })),
      last: at,
      events: new Uint32Array(members.size),
    };
  }

  /** Going on in place loses least, whatever the policy names: nothing else is missing. */
  async #gone({ at, oldest }: Gone, commit: TransactionCommit, torn: Ts | undefined): Promise<void> {
    const { source, config, members, checkpoints, log } = this.#o;
    const isKnown = torn !== undefined && compareTs(at.ts, torn) < 0;
    if (!isKnown && config.onPositionLost === 'stop') {
      throw new PositionLostError({
        source: source.name,
        position: { kind: 'after', ...at },
        oldest,
        reason: 'transaction',
        commit: commit.at,
      });
    }
    for (const { route } of members.all) {
      await checkpoints.addGap({
        source: source.name,
        subscription: route.config.name,
        from: at.ts,
        to: commit.at.ts,
        reason: 'transaction',
        at: Date.now(),
      });
    }
    log.error(
      {
        code: 'position-transaction',
        source: source.name,
        from: formatTs(at.ts),
        commit: formatTs(commit.at.ts),
        oldest: formatTs(oldest.ts),
      },
      'A transaction began before the oldest entry of the oplog: its operations were not delivered. Going on behind it.',
    );
  }
}
