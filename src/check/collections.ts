/** The collections that the checks are about, and how some of them are named. */
import type { Document, MongoClient } from 'mongodb';
import { codeOf } from '../source/failures.ts';

export interface Collection {
  readonly db: string;
  readonly coll: string;
  readonly namespace: string;
  /** `collection`, `timeseries` … */
  readonly type: string;
  /** Where they were asked for. */
  readonly options: Document;
}

export const UNAUTHORIZED = 13;
const INTERNAL_DATABASES = new Set(['admin', 'config', 'local']);
const SHOWN = 10;

/** But for views, in the order of their names. `withOptions` takes a right more. Undefined where they may not be listed. */
export async function collectionsOf(
  client: MongoClient,
  { withOptions }: { readonly withOptions: boolean },
): Promise<readonly Collection[] | undefined> {
  try {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
    const collections: Collection[] = [];
    for (const { name: db } of databases) {
      if (INTERNAL_DATABASES.has(db)) continue;
      const listed = client.db(db).listCollections({}, { nameOnly: !withOptions, authorizedCollections: true });
      for await (const { name: coll, type = 'collection', ...more } of listed) {
        if (coll.startsWith('system.') || type === 'view') continue;
        const options = 'options' in more ? (more.options ?? {}) : {};
        collections.push({ db, coll, namespace: `${db}.${coll}`, type, options });
      }
    }
    return collections.sort((a, b) => (a.namespace < b.namespace ? -1 : 1));
  } catch (error) {
    if (codeOf(error) === UNAUTHORIZED) return undefined;
    throw error;
  }
}

/** The first of them, and how many more. */
export function some(namespaces: readonly string[]): string {
  const more = namespaces.length > SHOWN ? `, and ${namespaces.length - SHOWN} more` : '';
  return namespaces.slice(0, SHOWN).join(', ') + more;
}
