/**
 * What a feed's batches did lately to collections that are being read. A piece that was read at a position waits for its place in the
 * feed; what was touched between the two must not come out of it.
 * Invariant: whoever reads at a position asks for what follows it by `from` before anything behind that position is taken.
 */
import { compareTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import type { Touched } from '../worker/protocol.ts';

interface Noted {
  /** The last entry of its batch. */
  readonly at: Ts;
  readonly touched: Touched;
}

/** All that was touched behind a position. */
export class Touches {
  readonly #watchers = new Set<TouchedSince>();
  #noted: Noted[] = [];

  /** Of a batch that was put in order. */
  note(touched: Touched, at: Ts): void {
    if (this.#watchers.size > 0) this.#noted.push({ touched, at });
  }

  /** Until it is disposed of. */
  from(at: Ts): TouchedSince {
    const since = new TouchedSince(at, {
      noted: () => this.#noted,
      end: () => {
        this.#watchers.delete(since);
        const oldest = [...this.#watchers].reduce<Ts | undefined>(
          (least, one) => (least && compareTs(least, one.at) <= 0 ? least : one.at),
          undefined,
        );
        this.#noted = oldest ? this.#noted.filter((one) => compareTs(one.at, oldest) > 0) : [];
      },
    });
    this.#watchers.add(since);
    return since;
  }
}

interface Origin {
  readonly noted: () => readonly Noted[];
  readonly end: () => void;
}

export class TouchedSince implements Disposable {
  readonly at: Ts;
  readonly #of: Origin;

  constructor(at: Ts, of: Origin) {
    this.at = at;
    this.#of = of;
  }

  /** Hashes of documents; 'all' where what a collection holds is not clear. */
  of(ns: string): ReadonlySet<number> | 'all' {
    const documents = new Set<number>();
    for (const { at, touched } of this.#of.noted()) {
      if (compareTs(at, this.at) <= 0) continue;
      if (touched.commands.some((one) => one.kind === 'unclear' && (one.ns === '' || one.ns === ns))) return 'all';
      for (const hash of touched.documents) documents.add(hash);
    }
    return documents;
  }

  [Symbol.dispose](): void {
    this.#of.end();
  }
}
