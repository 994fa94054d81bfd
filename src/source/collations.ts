/**
 * Finds the collections with a default collation. There two `_id`s can be one key to the server and differ in bytes, so that
 * a hash of the bytes would tear one document's changes apart. Best effort: what may not be listed is warned about.
 */
import type { Log } from '../observe/log.ts';
import { classify } from './failures.ts';
import type { Member } from './member.ts';

export interface CollationsOptions {
  readonly source: string;
  readonly member: Member;
  /** Only in this one is anything read. */
  readonly database?: string | undefined;
  /** Whether this "db.coll" matters. */
  readonly matches: (ns: string) => boolean;
  readonly log: Log;
}

const INTERNAL = new Set(['admin', 'config', 'local']);

export async function collatedNamespaces(
  { source, member, database: only, matches, log }: CollationsOptions,
  signal: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  const unlisted: string[] = [];
  const { names, all } = only === undefined ? await databases(member, signal) : { names: [only], all: true };
  if (!all) unlisted.push('*');
  for (const database of names) {
    if (INTERNAL.has(database)) continue;
    try {
      const options = { nameOnly: false as const, signal };
      const listing = member.client.db(database).listCollections({ type: 'collection' }, options);
      for await (const { name, options: created } of listing) {
        const ns = `${database}.${name}`;
        if (created?.['collation'] !== undefined && matches(ns)) found.push(ns);
      }
    } catch (error) {
      if (classify(error).kind !== 'refused') throw error;
      unlisted.push(database);
    }
  }
  if (unlisted.length > 0) {
    log.warn(
      { code: 'collation-unknown', source, databases: unlisted },
      'Collections with a default collation cannot be told apart here (*: in databases that the user has no right on): grant listCollections and ' +
        'listDatabases (docs/security.md), or partition them by namespace.',
    );
  }
  return found;
}

interface Databases {
  readonly names: readonly string[];
  /** Whether there are no others. */
  readonly all: boolean;
}

async function databases(member: Member, signal: AbortSignal): Promise<Databases> {
  // Asked for the user's own, the server leaves out without a word those that he may not look into.
  const names = await list(member, false, signal);
  if (names !== undefined) return { names, all: true };
  return { names: (await list(member, true, signal)) ?? [], all: false };
}

/** Undefined where the user may not ask for them. */
async function list(member: Member, authorizedDatabases: boolean, signal: AbortSignal): Promise<string[] | undefined> {
  try {
    const command = { nameOnly: true, authorizedDatabases, signal };
    const { databases: listed } = await member.client.db('admin').admin().listDatabases(command);
    return listed.map(({ name }) => name);
  } catch (error) {
    if (classify(error).kind !== 'refused') throw error;
    return undefined;
  }
}
