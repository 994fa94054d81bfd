/**
 * Where an engine delivers to when its consumer is a loop in the same program. A message counts as confirmed when the loop asks
 * for the next one, so what the loop has not taken stays in the engine's budget, and a slow loop slows the reading.
 */
import type { LaneMessage, LanePort, OpenPort, PortListener } from '../lanes/port.ts';

export class Inbox {
  #messages: LaneMessage[] = [];
  #taken = 0;
  #listener: PortListener | undefined;
  #ended: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** For one lane. */
  readonly port: LanePort = {
    open: async (listener) => {
      // What was not confirmed on the way before comes again, and is counted from 1.
      this.#listener = listener;
      this.#messages = [];
      this.#taken = 0;
      return this.#open();
    },
    mend: async () => {},
  };

  /** Nothing more comes; the loop ends, with the error where there is one. */
  end(outcome: { readonly error?: unknown }): void {
    this.#ended ??= outcome;
    this.#wake?.();
  }

  async *messages(): AsyncGenerator<LaneMessage, void> {
    for (;;) {
      const message = this.#messages.shift();
      if (message) {
        const listener = this.#listener;
        yield message;
        if (listener && listener === this.#listener) listener.confirmed(++this.#taken, false);
      } else if (this.#ended) {
        if (this.#ended.error !== undefined) throw this.#ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }

  #open(): OpenPort {
    return {
      ready: true,
      publish: (message) => {
        this.#messages.push(message);
        this.#wake?.();
      },
      prepare: () => undefined,
      close: () => {
        this.#listener = undefined;
      },
    };
  }
}
