/**
 * Looks at an engine as its operators do, several times a second and over all its lives: memory, progress, and what it says
 * of its health. `/healthz` must never call for a restart while a server or the network is what fails.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineProcess } from '../harness/engine-process.ts';

const EVERY_MS = 200;

export class Watch {
  /** Largest resident memory seen, in bytes. */
  peakRss = 0;
  /** What `/healthz` gave as reasons for a restart, if it ever did. */
  readonly unhealthy = new Set<string>();
  #longestStallMs = 0;
  #engine: EngineProcess | undefined;
  #confirmed = 0;
  #progressAt = performance.now();
  #flowing = false;
  readonly #stop = new AbortController();
  readonly #looking: Promise<void>;

  constructor() {
    this.#looking = this.#look();
  }

  /** The one that lives now. */
  set engine(engine: EngineProcess) {
    this.#engine = engine;
  }

  /** Writes go on from now on, or end: only in between does silence count as a stall. */
  set flowing(flows: boolean) {
    this.#note();
    this.#flowing = flows;
    this.#progressAt = performance.now();
  }

  get longestStallMs(): number {
    return Math.round(this.#longestStallMs);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#looking;
  }

  async #look(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const engine = this.#engine;
      if (engine !== undefined) {
        // One that is dead, not up yet, or stalled has nothing to say; the silence itself is counted.
        await Promise.all([this.#memory(engine), this.#progress(engine), this.#health(engine)]).catch(() => undefined);
      }
      await sleep(EVERY_MS);
    }
  }

  async #memory(engine: EngineProcess): Promise<void> {
    this.peakRss = Math.max(this.peakRss, await engine.rss());
  }

  async #progress(engine: EngineProcess): Promise<void> {
    const confirmed = await engine.metric('tailrace_messages_confirmed_total');
    if (confirmed !== this.#confirmed) this.#note();
    this.#confirmed = confirmed;
  }

  async #health(engine: EngineProcess): Promise<void> {
    const { ok, reasons } = await engine.healthy();
    if (!ok) for (const reason of reasons) this.unhealthy.add(reason);
  }

  #note(): void {
    const now = performance.now();
    if (this.#flowing) this.#longestStallMs = Math.max(this.#longestStallMs, now - this.#progressAt);
    this.#progressAt = now;
  }
}
