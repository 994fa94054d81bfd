/**
 * Says in the log what is parked. One cause can park every event there is, and a line for each would bury everything else: of a
 * subscription and reason the first is told at once, whole, and how many came after it every ten seconds. Each of them is in the
 * metrics, and in `tailrace parked list`.
 */
import type { ParkReason } from '../worker/protocol.ts';
import type { Log } from './log.ts';

export interface ToldParked {
  readonly subscription: string;
  readonly id: string;
  readonly ns: string;
  readonly reason: ParkReason;
  readonly detail: string;
}

interface Untold {
  events: number;
  last: ToldParked;
  timer: NodeJS.Timeout;
}

const EVERY_MS = 10_000;

export class ParkedLog {
  readonly #log: Log;
  readonly #everyMs: number;
  /** By subscription and reason, from the first on until none came for a while. */
  readonly #untold = new Map<string, Untold>();

  constructor(log: Log, everyMs = EVERY_MS) {
    this.#log = log;
    this.#everyMs = everyMs;
  }

  parked(told: ToldParked, events: number): void {
    const key = JSON.stringify([told.subscription, told.reason]);
    const untold = this.#untold.get(key);
    if (untold) {
      untold.events += events;
      untold.last = told;
      return;
    }
    this.#log.error({ code: `parked-${told.reason}`, ...told }, 'An event is parked.');
    this.#untold.set(key, { events: 0, last: told, timer: this.#later(key) });
  }

  /** Tells what is left. */
  close(): void {
    for (const untold of this.#untold.values()) {
      clearTimeout(untold.timer);
      this.#tell(untold);
    }
    this.#untold.clear();
  }

  #later(key: string): NodeJS.Timeout {
    return setTimeout(() => {
      const untold = this.#untold.get(key)!;
      if (untold.events === 0) {
        this.#untold.delete(key);
        return;
      }
      this.#tell(untold);
      untold.events = 0;
      untold.timer = this.#later(key);
    }, this.#everyMs);
  }

  #tell({ events, last }: Untold): void {
    if (events === 0) return;
    const { subscription, reason, id, ns, detail } = last;
    this.#log.error(
      { code: `parked-${reason}`, subscription, reason, events, last: { id, ns, detail } },
      'More events are parked for the same reason.',
    );
  }
}
