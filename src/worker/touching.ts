/**
 * What a batch does to collections that are being read for a snapshot: which of their documents it changes, and what becomes of them
 * as a whole. Also what nobody subscribed to, and what other shards moved: a snapshot must not show what is not so any more.
 * Invariant: in doubt something counts as touched.
 */
import { readCommand } from './command-event.ts';
import { decodeText, BsonType, stringEnd } from './bson.ts';
import type { CommandName } from './command-event.ts';
import type { EntryHead } from './entry.ts';
import type { Touched, TouchingCommand } from './protocol.ts';

/** After these a collection holds what it held before. */
const HARMLESS: ReadonlySet<string> = new Set([
  'applyOps',
  'commitTransaction',
  'abortTransaction',
  'create',
  'createIndexes',
  'startIndexBuild',
  'commitIndexBuild',
  'abortIndexBuild',
  'dropIndexes',
  'deleteIndexes',
  'collMod',
  'createDatabaseMetadata',
  'dropDatabaseMetadata',
  'createGlobalIndex',
  'dropGlobalIndex',
  'modifyCollectionShardingIndexCatalog',
]);

export class Touching {
  readonly #namespaces: ReadonlySet<string>;
  readonly #documents: number[] = [];
  readonly #commands: TouchingCommand[] = [];

  constructor(namespaces: readonly string[]) {
    this.#namespaces = new Set(namespaces);
  }

  has(ns: string): boolean {
    return this.#namespaces.has(ns);
  }

  document(hash: number): void {
    this.#documents.push(hash);
  }

  /** '': it may be any collection. */
  unclear(ns: string): void {
    this.#commands.push({ kind: 'unclear', ns });
  }

  command(bytes: Uint8Array, head: EntryHead, name: CommandName): void {
    if (HARMLESS.has(name.name)) return;
    const command = readCommand(bytes, head, name);
    if (command === 'silent' || command === 'unknown') {
      const db = decodeText(bytes, head.nsStart, head.nsEnd).split('.', 1)[0]!;
      if (name.type !== BsonType.string) return this.unclear('');
      const coll = decodeText(bytes, name.value + 4, stringEnd(bytes, name.value, name.last) - 1);
      return this.unclear(`${db}.${coll}`);
    }
    const { operation, db, coll, to } = command;
    if (operation === 'dropDatabase') this.#commands.push({ kind: 'dropDatabase', ns: db });
    else if (to) this.#commands.push({ kind: 'rename', ns: `${db}.${coll}`, to: `${to.db}.${to.coll}` });
    else if (operation === 'drop') this.#commands.push({ kind: 'drop', ns: `${db}.${coll}` });
    else this.unclear(`${db}.${coll}`);
  }

  get result(): Touched | undefined {
    if (this.#documents.length === 0 && this.#commands.length === 0) return undefined;
    return { documents: Uint32Array.from(this.#documents), commands: this.#commands };
  }
}
