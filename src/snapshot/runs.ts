/**
 * The snapshots of one subscription: which there are, and how far each has come. What is here is what its checkpoint says; only what
 * was confirmed gets here.
 */
import { SnapshotProgress } from './progress.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { SnapshotCollection, SnapshotRecord } from '../checkpoint/record.ts';
import type { TouchingCommand } from '../worker/protocol.ts';

export interface NewRun {
  readonly cause: SnapshotRecord['cause'];
  readonly namespaces?: readonly string[] | undefined;
  readonly filter?: string | undefined;
  readonly state?: 'running' | 'paused';
}

/** Of those that are over so many are kept, to be shown. */
const KEPT_OVER = 5;
/** That go on, or are to: they are stored with every position. */
export const MOST_ACTIVE = 20;

export class Runs {
  #records: readonly SnapshotRecord[];
  readonly #now: () => number;

  constructor(records: readonly SnapshotRecord[] = [], now: () => number = Date.now) {
    this.#records = records;
    this.#now = now;
  }

  /** Oldest first. */
  get records(): readonly SnapshotRecord[] {
    return this.#records;
  }

  /** The one whose turn it is. */
  get current(): SnapshotRecord | undefined {
    return this.#records.find(({ state }) => state === 'running');
  }

  get(run: string): SnapshotRecord | undefined {
    return this.#records.find((one) => one.run === run);
  }

  add({ cause, namespaces, filter, state = 'running' }: NewRun): SnapshotRecord {
    const record: SnapshotRecord = {
      run: this.#name(),
      cause,
      ...(namespaces && { namespaces }),
      ...(filter !== undefined && { filter }),
      state,
      startedAt: this.#now(),
      begun: '',
      open: [],
      again: [],
      documents: 0,
      collections: 0,
    };
    this.#records = [...this.#records, record];
    return record;
  }

  /** Changes between the two that go on; of one that is over nothing. */
  setState(run: string, state: 'running' | 'paused' | 'cancelled'): boolean {
    const record = this.get(run);
    if (!record || !isActive(record)) return false;
    if (state === 'cancelled') this.#over(run, state);
    else this.#update(run, { state });
    return true;
  }

  /** A collection's turn has come. */
  begin(run: string, ns: string): void {
    const record = this.get(run);
    if (!record || !isActive(record)) return;
    const { begun, open, again, renames } = record;
    const rename = again.includes(ns) ? { rename: renames } : {};
    this.#update(run, {
      // One that is read again may lie behind others that nobody has begun.
      begun: ns > begun && !again.includes(ns) ? ns : begun,
      open: [...open.filter((one) => one.ns !== ns), { ns, documents: 0, ...rename }],
      again: again.filter((one) => one !== ns),
    });
  }

  /** Of a collection that is being read: everything up to `last` is delivered, `documents` more. */
  advance(run: string, ns: string, last: string, documents: number): void {
    const record = this.get(run);
    if (!record || !isActive(record)) return;
    this.#update(run, {
      documents: record.documents + documents,
      open: record.open.map((one) => (one.ns === ns ? { ...one, last, documents: one.documents + documents } : one)),
    });
  }

  /** All of it is delivered, or it is no more. */
  finish(run: string, ns: string): void {
    const record = this.get(run);
    if (!record || !isActive(record)) return;
    this.#update(run, {
      collections: record.collections + 1,
      open: record.open.filter((one) => one.ns !== ns),
    });
  }

  /** All of it is delivered. */
  end(run: string): void {
    const record = this.get(run);
    if (record && isActive(record)) this.#over(run, 'done');
  }

  /**
   * What lies between was missed, and what was delivered may have been changed there: all that go on begin anew, as others, since what
   * has come before would be taken for a repetition. `byOne`: one over everything takes their place.
   */
  restart({ byOne }: { readonly byOne: boolean }): void {
    const active = this.#records.filter(isActive);
    for (const { run } of active) this.#over(run, 'cancelled');
    if (byOne) return;
    for (const { cause, namespaces, filter, state } of active) {
      this.add({ cause, namespaces, filter, state: state === 'paused' ? state : 'running' });
    }
  }

  /** Returns the collections whose reading is to end, as they are not what they were. */
  command(
    { kind, ns, to }: TouchingCommand,
    follows: (record: SnapshotRecord, ns: string) => boolean,
  ): ReadonlySet<string> {
    const ended = new Set<string>();
    for (const record of this.#records.filter(isActive)) {
      const isGone = (one: string): boolean =>
        kind === 'dropDatabase' ? one.startsWith(`${ns}.`) : kind !== 'unclear' && (one === ns || one === to);
      const gone = record.open.filter((one) => isGone(one.ns));
      for (const one of gone) ended.add(one.ns);
      const again = record.again.filter((one) => !isGone(one));
      // What was renamed brings documents along that no event told of.
      const isRenamed = to !== undefined && follows(record, to) && !again.includes(to);
      if (isRenamed) again.push(to);
      if (gone.length === 0 && again.length === record.again.length && again.every((one, k) => one === record.again[k]))
        continue;
      this.#update(record.run, {
        open: record.open.filter((one) => !gone.includes(one)),
        again,
        ...(isRenamed && { renames: (record.renames ?? 0) + 1 }),
        collections: record.collections + gone.length,
      });
    }
    return ended;
  }

  #over(run: string, state: 'done' | 'cancelled'): void {
    this.#update(run, { state, endedAt: this.#now(), open: [], again: [] });
    const over = this.#records.filter((one) => !isActive(one) && one.run !== run);
    const oldest = over.toSorted((a, b) => (a.endedAt ?? 0) - (b.endedAt ?? 0));
    const left = new Set(oldest.slice(0, Math.max(0, oldest.length + 1 - KEPT_OVER)));
    this.#records = this.#records.filter((one) => !left.has(one));
  }

  #update(run: string, change: Partial<SnapshotRecord>): void {
    this.#records = this.#records.map((one) => (one.run === run ? { ...one, ...change } : one));
  }

  /** Of the time, in seconds; one more where that is taken. */
  #name(): string {
    let seconds = Math.floor(this.#now() / 1000);
    while (this.get(String(seconds))) seconds += 1;
    return String(seconds);
  }
}

export function isActive({ state }: SnapshotRecord): boolean {
  return state === 'running' || state === 'paused';
}

/** Whether a collection belongs to a run of a subscription with these namespaces. */
export function followedBy(namespaces: readonly string[]): (record: SnapshotRecord, ns: string) => boolean {
  const all = compilePatterns(namespaces);
  const some = new Map<string, (ns: string) => boolean>();
  return (record, ns) => {
    if (!all(ns)) return false;
    if (!record.namespaces) return true;
    let matches = some.get(record.run);
    if (!matches) some.set(record.run, (matches = compilePatterns(record.namespaces)));
    return matches(ns);
  };
}

/** The run, in the ids of a collection's events: what a rename brought are other documents, though they may have the same `_id`s. */
export function nameInIds(record: SnapshotRecord, ns: string): string {
  const rename = openOf(record, ns)?.rename;
  return rename === undefined ? record.run : `${record.run}-${rename}`;
}

export function openOf({ open }: SnapshotRecord, ns: string): SnapshotCollection | undefined {
  return open.find((one) => one.ns === ns);
}

/** Of all subscriptions of an engine. They outlive the feeds that deliver for them. */
export class SnapshotBook {
  readonly #runs = new Map<string, Runs>();
  readonly #progress = new Map<string, SnapshotProgress>();

  of(subscription: string): Runs {
    let runs = this.#runs.get(subscription);
    if (!runs) this.#runs.set(subscription, (runs = new Runs()));
    return runs;
  }

  /** Undefined where it was not loaded. */
  known(subscription: string): Runs | undefined {
    return this.#runs.get(subscription);
  }

  /** As its checkpoint has it: what was known before was another life's. */
  load(subscription: string, records: readonly SnapshotRecord[] | undefined): void {
    this.#runs.set(subscription, new Runs(records));
  }

  progress(subscription: string): SnapshotProgress {
    let progress = this.#progress.get(subscription);
    if (!progress) this.#progress.set(subscription, (progress = new SnapshotProgress()));
    return progress;
  }

  forget(subscription: string): void {
    this.#runs.delete(subscription);
    this.#progress.delete(subscription);
  }
}
