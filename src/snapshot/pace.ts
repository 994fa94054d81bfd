/**
 * How large a snapshot's pieces are and how close they follow each other, so that what happens meanwhile does not wait for them: a
 * piece in front of a change delays it by as long as the piece takes to be confirmed.
 */
import { Slots } from '../slots.ts';
import { settled, sleep } from '../waits.ts';
import type { SnapshotConfig } from '../config/config.ts';

const LEAST_BYTES = 64 * 1024;
const MOST_BYTES = 4 * 2 ** 20;
const FIRST_BYTES = 512 * 1024;
const FIRST_DOCUMENTS = 500;
/** While something else goes the same way. */
const MOST_LIVE_BYTES = 2 ** 20;
/** Looking at each of them takes the main thread some microseconds. */
const MOST_DOCUMENTS = 8_000;
/** As long as a piece may keep what goes the same way. */
const WANTED_MS = 40;
/** Of a rate, so much may come at once. */
const BURST_SECONDS = 0.25;
/** Behind a destination that takes that long. */
const MOST_REST_MS = 30_000;
/** Under way to the broker: one that waits while another is being confirmed. */
const UNDER_WAY = 2;

export class Pace {
  readonly #config: SnapshotConfig;
  readonly #now: () => number;
  #bytes = FIRST_BYTES;
  /** When the next documents are due, of a limited rate. */
  #dueAt = 0;
  /** Until then the way is the changes'. */
  #restUntil = 0;
  #underWay = 0;
  /** Something else went the same way lately. */
  #live = false;
  /** Whoever is next waits for a place, the others behind it. */
  readonly #line = new Slots(1);
  #wake: () => void = () => undefined;

  constructor(config: SnapshotConfig, now: () => number = () => performance.now()) {
    this.#config = config;
    this.#now = now;
  }

  /** How many the next piece is to hold; of documents of which nothing is known few. */
  documents(bytesEach?: number): number {
    const { maxRate } = this.#config;
    const most = maxRate === undefined ? MOST_DOCUMENTS : Math.max(1, Math.floor(maxRate * BURST_SECONDS));
    const wanted = bytesEach === undefined ? FIRST_DOCUMENTS : Math.round(this.#bytes / Math.max(1, bytesEach));
    return Math.max(1, Math.min(most, MOST_DOCUMENTS, wanted));
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

  /** Once a piece may go its way, those that wait in the order in which they came; false when `signal` has fired. Then call `leave`. */
  async enter(signal: AbortSignal): Promise<boolean> {
    return await this.#line.run(async () => {
      while (!signal.aborted) {
        const waitMs = this.#restUntil - this.#now();
        if (waitMs > 0) await sleep(waitMs, signal);
        else if (this.#underWay < (this.#live ? 1 : UNDER_WAY)) break;
        else await settled(new Promise((resolve) => (this.#wake = resolve)), signal);
      }
      if (signal.aborted) return false;
      this.#underWay += 1;
      return true;
    });
  }

  /** A piece took so long; `live`: something else was there meanwhile. */
  leave(tookMs: number, live: boolean): void {
    this.#underWay -= 1;
    this.#live = live;
    const factor = live ? Math.min(1.5, Math.max(0.5, WANTED_MS / Math.max(1, tookMs))) : 1.5;
    this.#bytes = Math.max(LEAST_BYTES, Math.min(live ? MOST_LIVE_BYTES : MOST_BYTES, this.#bytes * factor));
    const { share } = this.#config;
    if (live && share > 0) this.#restUntil = this.#now() + Math.min(MOST_REST_MS, (tookMs * share) / (1 - share));
    this.#wake();
  }
}
