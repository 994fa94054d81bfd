/** What takes connections, threads and time is done for one asker at a time; another is told so. */
import { NotNowError } from '../errors.ts';

export class OneAtATime {
  readonly #what: string;
  #busy = false;

  /** `what`: "A source is being tested". */
  constructor(what: string) {
    this.#what = what;
  }

  /** Throws `NotNowError` while another one is under way. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new NotNowError(`${this.#what} already: ask again when that has been answered.`);
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }
}
