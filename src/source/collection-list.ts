/** Which collections there are for a snapshot. What the user may not list is told, not passed over in silence. */
import { Binary } from 'mongodb';
import type { Document, MongoClient } from 'mongodb';
import { isInternal } from '../worker/route.ts';
import { codeOf } from './failures.ts';
import { operationTimeOf } from './hello.ts';
import type { Ts } from './position.ts';

export interface FoundCollection {
  readonly ns: string;
  readonly kind: 'collection' | 'view' | 'timeseries';
  readonly capped: boolean;
}

export interface FoundCollections {
  /** In the order of their names. */
  readonly found: readonly FoundCollection[];
  /** Databases in which there may be others that the user may not know of; `*`: and whole databases. */
  readonly unlisted: readonly string[];
}

export interface Sought {
  readonly matches: (ns: string) => boolean;
  /** Patterns: what they name without a star is there, whatever the user may list. */
  readonly patterns: readonly string[];
}

interface Listed {
  readonly name: string;
  readonly type?: string;
  readonly options?: Document;
  readonly info?: Document;
}

const INTERNAL = new Set(['admin', 'config', 'local']);
const UNAUTHORIZED = 13;

export async function listCollections(
  client: MongoClient,
  { matches, patterns }: Sought,
  signal: AbortSignal,
): Promise<FoundCollections> {
  const found = new Map<string, FoundCollection>();
  const all = await databases(client, { authorizedDatabases: false }, signal);
  const unlisted = all ? [] : ['*'];
  const listed = all ?? (await databases(client, { authorizedDatabases: true }, signal)) ?? [];
  for (const db of new Set([...listed, ...namedDatabases(patterns)])) {
    if (INTERNAL.has(db)) continue;
    const { collections, isAll } = await collectionsOf(client, db, signal);
    if (!isAll) unlisted.push(db);
    for (const { name, type, options } of collections) {
      const ns = `${db}.${name}`;
      if (isInternal(db, name) || !matches(ns)) continue;
      const kind = type === 'view' || type === 'timeseries' ? type : 'collection';
      found.set(ns, { ns, kind, capped: options?.['capped'] === true });
    }
  }
  for (const ns of patterns) {
    const isKnown = !isName(ns) || found.has(ns) || !unlisted.includes(databaseOf(ns));
    if (!isKnown && matches(ns)) found.set(ns, { ns, kind: 'collection', capped: false });
  }
  return { found: [...found.values()].toSorted((a, b) => (a.ns < b.ns ? -1 : 1)), unlisted };
}

/** What there is under a name. */
export interface Named {
  /** Its sixteen bytes; undefined where there is nothing, or a view. */
  readonly uuid: Uint8Array | undefined;
  readonly isClustered: boolean;
  /** When it was so. */
  readonly at: Ts | undefined;
}

export async function collectionNamed(
  client: MongoClient,
  { db, coll }: { readonly db: string; readonly coll: string },
  signal: AbortSignal,
): Promise<Named> {
  const reply = await client.db(db).command({ listCollections: 1, filter: { name: coll } }, { signal });
  const { firstBatch = [] } = (reply['cursor'] ?? {}) as { readonly firstBatch?: readonly Listed[] };
  const [{ info, options } = {}] = firstBatch;
  const uuid: unknown = info?.['uuid'];
  return {
    uuid: uuid instanceof Binary ? new Uint8Array(uuid.buffer.subarray(0, 16)) : undefined,
    isClustered: options?.['clusteredIndex'] !== undefined,
    at: operationTimeOf(reply),
  };
}

/** Undefined where the user may not ask for them. */
async function databases(
  client: MongoClient,
  options: { readonly authorizedDatabases: boolean },
  signal: AbortSignal,
): Promise<string[] | undefined> {
  const command = { nameOnly: true, ...options, signal };
  const listing = client.db('admin').admin().listDatabases(command);
  return await unlessRefused(listing.then((listed) => listed.databases.map(({ name }) => name)));
}

/** With their options, where the user may see those. */
async function collectionsOf(
  client: MongoClient,
  db: string,
  signal: AbortSignal,
): Promise<{ readonly collections: readonly Listed[]; readonly isAll: boolean }> {
  const list = async (options: object): Promise<Listed[] | undefined> =>
    unlessRefused(
      client
        .db(db)
        .listCollections({}, { ...options, signal })
        .toArray(),
    );
  const all = await list({ nameOnly: false });
  if (all) return { collections: all, isAll: true };
  return { collections: (await list({ nameOnly: true, authorizedCollections: true })) ?? [], isAll: false };
}

/** Undefined where the user may not. */
export async function unlessRefused<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (codeOf(error) !== UNAUTHORIZED) throw error;
    return undefined;
  }
}

function namedDatabases(patterns: readonly string[]): string[] {
  return patterns
    .filter((one) => !one.startsWith('!'))
    .flatMap((one) => (databaseOf(one).includes('*') ? [] : [databaseOf(one)]));
}

function isName(pattern: string): boolean {
  return !pattern.startsWith('!') && !pattern.includes('*');
}

function databaseOf(ns: string): string {
  return ns.split('.', 1)[0]!;
}
