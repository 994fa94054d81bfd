/**
 * How documents of collections that are clustered by `_id` are asked for, and which those are. Asked for several of their documents at once, the server looks at all between the first and
 * the last (6.0.27), or at the whole collection (6.0.5): bounds keep it
 * from the latter, and where they are far apart each is asked for by itself.
 */
import type { Document, MongoClient } from 'mongodb';
import { collectionNamed } from './collection-list.ts';
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
    const named = await collectionNamed(client, { db, coll }, signal).catch(unlessAnswered);
    // It may have another name by now; what is there under this one says nothing.
    if (!named?.uuid || Buffer.compare(named.uuid, uuid) !== 0) return false;
    if (this.#known.size >= MOST) this.#known.clear();
    const { isClustered } = named;
    this.#known.set(key, isClustered);
    return isClustered;
  }
}

/** It chooses a plan, no more: a server that refuses this, for whatever reason, may still let documents be read. */
function unlessAnswered(error: unknown): undefined {
  if (codeOf(error) === undefined) throw error;
}

/** Of these; `inOrder`: all that an index has between the first and the last can be bounded by comparing, and little of it is not wanted. */
export function among(values: readonly unknown[], inOrder: boolean): Document {
  return { $in: values, ...(inOrder && { $gte: values[0], $lte: values.at(-1) }) };
}
