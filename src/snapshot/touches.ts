/**
 * What a feed's batches do to documents that are being read. A piece that was read at a position waits for its place in the feed; what
 * was touched between the two must not come out of it.
 * Invariant: whoever reads at a position asks for what follows it by `from` before anything behind that position is taken.
 */
import { compareTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import type { Touched } from '../worker/protocol.ts';

/** While it is not known which documents matter; behind that all count as touched. */
const MOST_NOTED = 2 ** 20;

export class Touches {
  readonly #watchers = new Set<TouchedSince>();

  /** Of a batch that is put in order; `at` is its last entry. */
  note(touched: Touched, at: Ts): void {
    for (const one of this.#watchers) one.note(touched, at);
  }

  /** Until it is disposed of. */
  from(at: Ts, ns: string): TouchedSince {
    const since = new TouchedSince(at, ns, () => this.#watchers.delete(since));
    this.#watchers.add(since);
    return since;
  }
}

/** What was touched of a collection behind a position. */
export class TouchedSince implements Disposable {
  readonly #at: Ts;
  readonly #ns: string;
  readonly #end: () => void;
  #noted: Uint32Array[] = [];
  #count = 0;
  #own: (() => ReadonlySet<number>) | undefined;
  #touched: Set<number> | 'all' = new Set();

  constructor(at: Ts, ns: string, end: () => void) {
    this.#at = at;
    this.#ns = ns;
    this.#end = end;
  }

  /** Hashes of documents; 'all' where what the collection holds is not clear. */
  get touched(): ReadonlySet<number> | 'all' {
    return this.#touched;
  }

  note({ documents, commands }: Touched, at: Ts): void {
    if (this.#touched === 'all' || compareTs(at, this.#at) <= 0) return;
    if (commands.some(({ kind, ns }) => kind === 'unclear' && (ns === '' || ns === this.#ns))) this.#all();
    else if (this.#own) this.#look(documents, this.#own);
    else {
      this.#noted.push(documents);
      this.#count += documents.length;
      if (this.#count > MOST_NOTED) this.#all();
    }
  }

  /** From now on it is known which hashes matter; asked for only where anything was touched. */
  only(own: () => ReadonlySet<number>): void {
    this.#own = own;
    for (const documents of this.#noted) this.#look(documents, own);
    this.#noted = [];
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #look(documents: Uint32Array, own: () => ReadonlySet<number>): void {
    if (this.#touched === 'all' || documents.length === 0) return;
    const hashes = own();
    for (const hash of documents) if (hashes.has(hash)) this.#touched.add(hash);
  }

  #all(): void {
    this.#touched = 'all';
    this.#noted = [];
  }
}
