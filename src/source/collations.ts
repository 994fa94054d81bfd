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
  /** Whether this "db.coll" matters. */
  readonly matches: (ns: string) => boolean;
  readonly log: Log;
}

const INTERNAL = new Set(['admin', 'config', 'local']);

export async function collatedNamespaces(
  { source, member, matches, log }: CollationsOptions,
  signal: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  const unlisted: string[] = [];
  for (const database of await databases(member, signal)) {
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
      { source, databases: unlisted },
      'Collections with a default collation cannot be told apart here: grant listCollections, or partition them by namespace.',
    );
  }
  return found;
}

async function databases(member: Member, signal: AbortSignal): Promise<string[]> {
  const command = { nameOnly: true, authorizedDatabases: true, signal };
  const { databases: listed } = await member.client.db('admin').admin().listDatabases(command);
  return listed.map(({ name }) => name);
}
