/**
 * Writes where everything stands while the engine runs. A confirm only sets a flag; within 20 ms one commit takes all
 * confirms since the last, and each `intervalMs` in which something changed the disk is awaited.
 * Invariant: a record that is written was true when `snapshot` was called, so a write that is late or repeated costs
 * repeats after a crash, never a loss. That is why a failing disk does not stop the flow: it is logged, retried, and
 * told to readiness.
 */
import type { Log } from '../observe/log.ts';
import type { CheckpointRecord } from './record.ts';
import type { CheckpointStore } from './store.ts';

/** With the time a commit takes and a timer's lateness it stays within 20 ms of the confirm. */
const COMMIT_AFTER_MS = 12;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

export interface CheckpointerOptions {
  readonly store: Pick<CheckpointStore, 'put' | 'flushed'>;
  /** How often the disk is awaited. */
  readonly intervalMs: number;
  readonly snapshot: () => readonly CheckpointRecord[];
  readonly log: Log;
}

export class Checkpointer {
  readonly #store: CheckpointerOptions['store'];
  readonly #snapshot: () => readonly CheckpointRecord[];
  readonly #commits: WriteLoop;
  readonly #flushes: WriteLoop;

  constructor({ store, intervalMs, snapshot, log }: CheckpointerOptions) {
    this.#store = store;
    this.#snapshot = snapshot;
    this.#flushes = new WriteLoop({ log, delayMs: intervalMs, write: () => store.flushed() });
    this.#commits = new WriteLoop({
      log,
      delayMs: COMMIT_AFTER_MS,
      write: async () => {
        await store.put(snapshot());
        this.#flushes.request();
      },
    });
  }

  /** Why positions cannot be written now; undefined while they can. */
  get failing(): string | undefined {
    return this.#commits.failing ?? this.#flushes.failing;
  }

  /** Something was confirmed. Called for each confirm. */
  touch(): void {
    this.#commits.request();
  }

  /** Commits and flushes what is true now; rejects when it cannot. */
  async flush(): Promise<void> {
    await this.#store.put(this.#snapshot());
    await this.#store.flushed();
  }

  /** Nothing is written any more once it resolves; what `flush` did not take is repeated after the next start. */
  async stop(): Promise<void> {
    await Promise.all([this.#commits.stop(), this.#flushes.stop()]);
  }
}

/** Writes `delayMs` after it was asked to, never twice at once; what is asked while it writes means once more. */
class WriteLoop {
  readonly #write: () => Promise<void>;
  readonly #delayMs: number;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #retryMs = FIRST_RETRY_MS;
  failing: string | undefined;

  constructor({ write, delayMs, log }: { write: () => Promise<void>; delayMs: number; log: Log }) {
    this.#write = write;
    this.#delayMs = delayMs;
    this.#log = log;
  }

  request(): void {
    if (this.#timer !== undefined) return;
    if (this.#running === undefined) this.#schedule(this.#delayMs);
    else this.#again = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#again = false;
      this.#running = this.#run();
    }, delayMs);
  }

  async #run(): Promise<void> {
    try {
      await this.#write();
      this.#succeeded();
    } catch (error) {
      this.#failed(error);
    }
    this.#running = undefined;
    if (this.failing !== undefined) {
      this.#schedule(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    } else if (this.#again) this.#schedule(this.#delayMs);
  }

  #succeeded(): void {
    if (this.failing !== undefined) this.#log.info({}, 'Checkpoints are written again.');
    this.failing = undefined;
    this.#retryMs = FIRST_RETRY_MS;
  }

  #failed(error: unknown): void {
    if (this.failing === undefined) {
      this.#log.error(
        { code: 'checkpoint-failing', err: error },
        'Checkpoints cannot be written: a crash now would repeat all since the last one. Is the disk full? Retrying.',
      );
    }
    this.failing = error instanceof Error ? error.message : String(error);
  }
}
