/** A feed's reading, held where it has come to a position, or wherever it is. */
import { comparePoints } from '../lanes/floors.ts';
import { pointAfter } from '../source/position.ts';
import type { OpTime } from '../source/position.ts';

export class Pause {
  /** Resolves once nothing more is taken. */
  readonly reached: Promise<void>;
  readonly ended: Promise<void>;
  readonly #at: OpTime | undefined;
  #reach!: () => void;
  #end!: () => void;

  /** `at`: it goes on until it has read that. */
  constructor(at: OpTime | undefined) {
    this.#at = at;
    this.reached = new Promise((resolve) => (this.#reach = resolve));
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** Whether nothing may be taken behind `position`, the last that was; `reached` then resolves. */
  isDue(position: OpTime | undefined): boolean {
    if (this.#at !== undefined) {
      if (position === undefined || comparePoints(pointAfter(position), pointAfter(this.#at)) < 0) return false;
    }
    this.#reach();
    return true;
  }

  end(): void {
    this.#end();
  }
}
