/**
 * The versions of what is managed online, in the store of the checkpoints: each whole, so that any of them can be gone back to. The
 * newest is what the engine runs with. On disk when a promise resolves.
 */
import type { RootDatabase } from 'lmdb';
import type { Definitions, Difference } from '../config/definitions.ts';
import { inOneTransaction } from './data-folder.ts';
import type { BinaryDatabase } from './data-folder.ts';
import { decodeDefinitions, encodeDefinitions } from './record.ts';

export interface DefinitionVersion {
  /** From 1. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Who, as they say. */
  readonly by: string;
  /** `file`: taken from the file; `change`: one thing was changed; `restore`: an earlier version's, `from`. */
  readonly cause: 'file' | 'change' | 'restore';
  readonly from?: number;
  /** By subscription that begins with it: where, as it is written. It holds until its start is stored. */
  readonly starts?: Readonly<Record<string, string>>;
  /** Against the version before. */
  readonly changes: readonly Difference[];
  readonly definitions: Definitions;
}

/** So many are kept. */
const MOST = 1_000;

export class DefinitionStore {
  readonly #environment: RootDatabase;
  readonly #database: BinaryDatabase;
  readonly #onChange: () => void;
  readonly #versions: Map<number, DefinitionVersion>;

  constructor(environment: RootDatabase, database: BinaryDatabase, onChange: () => void) {
    this.#environment = environment;
    this.#database = database;
    this.#onChange = onChange;
    this.#versions = new Map(readVersions(database).map((version) => [version.number, version]));
  }

  get latest(): DefinitionVersion | undefined {
    return this.all.at(-1);
  }

  /** Oldest first. */
  get all(): readonly DefinitionVersion[] {
    return [...this.#versions.values()].sort((a, b) => a.number - b.number);
  }

  get(number: number): DefinitionVersion | undefined {
    return this.#versions.get(number);
  }

  /** Resolves with its number. */
  async add(version: Omit<DefinitionVersion, 'number'>): Promise<number> {
    const number = (this.latest?.number ?? 0) + 1;
    const whole = { number, ...version };
    const bytes = encodeDefinitions(whole);
    const outdated = [...this.#versions.keys()].filter((one) => one <= number - MOST);
    await inOneTransaction(
      this.#environment,
      () => {
        void this.#database.put(number, bytes);
        for (const one of outdated) void this.#database.remove(one);
      },
      { bytes: bytes.length },
    );
    this.#versions.set(number, whole);
    for (const one of outdated) this.#versions.delete(one);
    this.#onChange();
    return number;
  }

  /** Of the newest: it came to nothing. */
  async takeBack(number: number): Promise<void> {
    await inOneTransaction(this.#environment, () => void this.#database.remove(number));
    this.#versions.delete(number);
    this.#onChange();
  }
}

export function readVersions(database: BinaryDatabase): DefinitionVersion[] {
  return [...database.getRange()].map(({ value }) => decodeDefinitions(value));
}
