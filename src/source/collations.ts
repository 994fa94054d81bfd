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
  const listed = only === undefined ? await databases(member, signal) : [only];
  if (listed === undefined) unlisted.push('*');
  for (const database of listed ?? []) {
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
      'Collections with a default collation cannot be told apart here: grant listCollections and listDatabases (docs/security.md), or ' +
        'partition them by namespace.',
    );
  }
  return found;
}

/** All that there are; undefined where the user may not know. */
async function databases(member: Member, signal: AbortSignal): Promise<string[] | undefined> {
  const admin = member.client.db('admin').admin();
  try {
    // Otherwise those would be left out without a word that he may not look into.
    const command = { nameOnly: true, authorizedDatabases: false, signal };
    const { databases: listed } = await admin.listDatabases(command);
    return listed.map(({ name }) => name);
  } catch (error) {
    if (classify(error).kind !== 'refused') throw error;
    return undefined;
  }
}
