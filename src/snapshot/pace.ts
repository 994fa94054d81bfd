/**
 * How large a snapshot's pieces are and how close they follow each other, so that what happens meanwhile does not wait for them: a
 * piece in front of a change delays it by as long as the piece takes to be confirmed.
 */
import { sleep } from '../waits.ts';
import type { SnapshotConfig } from '../config/config.ts';

const LEAST_BYTES = 64 * 1024;
const MOST_BYTES = 4 * 2 ** 20;
const FIRST_BYTES = 512 * 1024;
/** While something else goes the same way. */
const MOST_LIVE_BYTES = 2 ** 20;
const MOST_DOCUMENTS = 20_000;
/** As long as a piece may keep what goes the same way. */
const WANTED_MS = 40;
/** Of a rate, so much may come at once. */
const BURST_SECONDS = 0.25;
const MOST_REST_MS = 1_000;

export class Pace {
  readonly #config: SnapshotConfig;
  readonly #now: () => number;
  #bytes = FIRST_BYTES;
  /** When the next documents are due, of a limited rate. */
  #dueAt = 0;

  constructor(config: SnapshotConfig, now: () => number = () => performance.now()) {
    this.#config = config;
    this.#now = now;
  }

  /** How many the next piece is to hold. */
  documents(bytesEach: number): number {
    const { maxRate } = this.#config;
    const most = maxRate === undefined ? MOST_DOCUMENTS : Math.max(1, Math.floor(maxRate * BURST_SECONDS));
    return Math.max(1, Math.min(most, MOST_DOCUMENTS, Math.round(this.#bytes / Math.max(1, bytesEach))));
  }

  /** So many were read. */
  took(documents: number): void {
    const { maxRate } = this.#config;
    if (maxRate !== undefined) this.#dueAt = Math.max(this.#dueAt, this.#now()) + (documents / maxRate) * 1_000;
  }

  /** Once the rate allows more. */
  async allowed(signal: AbortSignal): Promise<void> {
    const waitMs = this.#dueAt - this.#now();
    if (waitMs > 0) await sleep(waitMs, signal);
  }

  /** Behind a piece that took so long; `live`: something else was there meanwhile. */
  async rest(tookMs: number, live: boolean, signal: AbortSignal): Promise<void> {
    const factor = live ? Math.min(1.5, Math.max(0.5, WANTED_MS / Math.max(1, tookMs))) : 1.5;
    this.#bytes = Math.max(LEAST_BYTES, Math.min(live ? MOST_LIVE_BYTES : MOST_BYTES, this.#bytes * factor));
    const { share } = this.#config;
    if (live && share > 0) await sleep(Math.min(MOST_REST_MS, (tookMs * share) / (1 - share)), signal);
  }
}
