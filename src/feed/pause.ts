/** A feed's reading, held where it has come to a position. */
import { comparePoints } from '../lanes/floors.ts';
import { pointAfter } from '../source/position.ts';
import type { OpTime } from '../source/position.ts';

export class Pause {
  /** Resolves once nothing more is taken. */
  readonly reached: Promise<void>;
  readonly ended: Promise<void>;
  readonly #at: () => OpTime | undefined;
  #isReached = false;
  #reach!: () => void;
  #end!: () => void;

  /** `at`: it goes on until it has read that, which may move on meanwhile. */
  constructor(at: () => OpTime | undefined) {
    this.#at = at;
    this.reached = new Promise((resolve) => (this.#reach = resolve));
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** Whether nothing may be taken behind `position`, the last that was: from then on nothing is, and `reached` resolves. */
  isDue(position: OpTime | undefined): boolean {
    this.#isReached ||= hasRead(position, this.#at());
    if (this.#isReached) this.#reach();
    return this.#isReached;
  }

  end(): void {
    this.#end();
  }
}

/** Whether who has come to `here` has read all that who has come to `there` has. */
export function hasRead(here: OpTime | undefined, there: OpTime | undefined): boolean {
  return here !== undefined && there !== undefined && comparePoints(pointAfter(here), pointAfter(there)) >= 0;
}
