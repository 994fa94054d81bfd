/**
 * Which collections are clustered by `_id`. Asked for several of their documents at once, the server looks at all between the first and
 * the last (6.0.27), or at the whole collection (6.0.5).
 */
import { Binary } from 'mongodb';
import type { Document, MongoClient } from 'mongodb';
import { codeOf } from './failures.ts';

/** The first server that has them. */
const SINCE = 503;
/** Collections that are remembered: those of a server with very many are asked for again. */
const MOST = 20_000;

export interface Which {
  readonly db: string;
  readonly coll: string;
  readonly uuid?: Uint8Array | undefined;
}

export class Clustered {
  /** By UUID: what a collection is it stays. */
  readonly #known = new Map<string, boolean>();

  /** False where that cannot be known. */
  async has(client: MongoClient, version: number, { db, coll, uuid }: Which, signal: AbortSignal): Promise<boolean> {
    if (version < SINCE || uuid === undefined) return false;
    const key = Buffer.from(uuid).toString('latin1');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const listed = await infoOf(client, { db, coll }, signal);
    // It may have another name by now; what is there under this one says nothing.
    if (listed === undefined || !isSame(listed, uuid)) return false;
    if (this.#known.size >= MOST) this.#known.clear();
    const isClustered = (listed['options'] as Document | undefined)?.['clusteredIndex'] !== undefined;
    this.#known.set(key, isClustered);
    return isClustered;
  }
}

/** Undefined where there is none, or the user may not know. It chooses a plan, no more: who refuses this may still let documents be read. */
async function infoOf(client: MongoClient, { db, coll }: Which, signal: AbortSignal): Promise<Document | undefined> {
  try {
    const reply = await client.db(db).command({ listCollections: 1, filter: { name: coll } }, { signal });
    return (reply['cursor'] as { readonly firstBatch?: readonly Document[] } | undefined)?.firstBatch?.[0];
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return undefined;
  }
}

function isSame(listed: Document, uuid: Uint8Array): boolean {
  const its: unknown = (listed['info'] as Document | undefined)?.['uuid'];
  return its instanceof Binary && Buffer.compare(its.buffer.subarray(0, its.position), uuid) === 0;
}
