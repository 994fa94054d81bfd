/** Who writes at random, who applies events as a consumer does, and who compares. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BSON } from 'mongodb';
import type { ClientSession, Db, Document, MongoClient } from 'mongodb';
import { until } from '../harness/engine-process.ts';
import type { EngineFolder, EngineProcess } from '../harness/engine-process.ts';
import { linesIn } from '../harness/lines-in.ts';

export interface WritersOptions {
  readonly db: string;
  readonly collections: number;
  /** `_id`s are from 0 up to this. */
  readonly ids: number;
  readonly seed: number;
  /** At a time. */
  readonly writers?: number;
}

/** Inserts, updates, replacements, deletes, writes of many, and transactions, until it is stopped. */
export class Writers {
  writes = 0;
  readonly #client: MongoClient;
  readonly #o: WritersOptions;
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(client: MongoClient, options: WritersOptions) {
    this.#client = client;
    this.#o = options;
  }

  start(): void {
    const { writers = 3, seed } = this.#o;
    this.#running = Promise.all(Array.from({ length: writers }, (_, n) => this.#write(randomOf(seed * 1_000 + n))));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #write(random: (below: number) => number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (random(12) > 0) await this.#one(random, undefined);
      else {
        await this.#client.withSession(async (session) => {
          await session
            .withTransaction(async () => {
              for (let n = random(6) + 1; n > 0; n--) await this.#one(random, session);
            })
            .catch(() => undefined);
        });
      }
      this.writes += 1;
    }
  }

  async #one(random: (below: number) => number, session: ClientSession | undefined): Promise<void> {
    const { db, collections, ids } = this.#o;
    const collection = this.#client.db(db).collection<{ _id: number }>(`c${random(collections)}`);
    // A few are hot.
    const _id = random(4) === 0 ? random(5) : random(ids);
    const options = session ? { session } : {};
    const value = random(1_000_000);
    switch (random(7)) {
      case 0:
        await collection.deleteOne({ _id }, options);
        break;
      case 1:
        await collection.replaceOne(
          { _id },
          { replaced: value, list: [value] },
          {
            ...options,
            upsert: true,
          },
        );
        break;
      case 2:
        await collection.updateMany({ _id: { $gte: _id, $lt: _id + 20 } }, { $inc: { n: 1 } }, options);
        break;
      case 3:
        await collection.updateOne({ _id }, { $push: { list: { $each: [value], $slice: -5 } } }, options);
        break;
      case 4:
        await collection.updateOne(
          { _id },
          { $unset: { text: 1 }, $set: { [`f${random(4)}.deep`]: value } },
          {
            ...options,
            upsert: true,
          },
        );
        break;
      default:
        await collection.updateOne({ _id }, { $set: { n: value } }, options);
    }
  }
}

/** Numbers below what they are asked for, the same for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A whole database into a file, partitioned by document. */
export function snapshotConfig(
  db: string,
  { uri, start = 'snapshot', subscription = {} }: { uri: string; start?: string; subscription?: object },
): object {
  return {
    sources: { src: { uri, start } },
    subscriptions: [
      { name: 'all', namespaces: [`${db}.*`], format: 'json-canonical', to: { file: 'out.jsonl' }, ...subscription },
    ],
    pipeline: { partitions: 4, partitionBy: [{ namespaces: ['*'], key: 'document' }] },
  };
}

export function isComplete(engine: EngineProcess): boolean {
  return engine.log().includes('A snapshot is complete');
}

/** Once everything has arrived, and the engine has ended, the consumer's state is the collections'. Resolves with what came. */
export async function assertSame(
  client: MongoClient,
  { place, engine, db }: { place: EngineFolder; engine: EngineProcess; db: string },
): Promise<Document[]> {
  await client.db(db).collection<{ _id: string }>('edge').insertOne({ _id: 'after' });
  const out = join(place.folder, 'out.jsonl');
  await until('the last write has arrived', async () => (await readFile(out, 'utf8')).includes('"after"'), 60_000);
  assert.equal(await engine.terminate(), 0, engine.log());
  const all = await eventsIn(place);
  assert.deepEqual(await differences(client.db(db), applied(all)), []);
  return all;
}

/** What a subscription has written into this file, in its order. */
export async function eventsIn({ folder }: EngineFolder, file = 'out.jsonl'): Promise<Document[]> {
  const lines = await linesIn(join(folder, file));
  return lines.map((line): Document => BSON.EJSON.parse(line, { relaxed: false }));
}

/** By "coll" and `_id`: what a consumer has that applied all of these in order. Throws where an event makes no sense. */
export function applied(events: readonly Document[]): Map<string, Document> {
  const state = new Map<string, Document>();
  for (const event of events) {
    const { operationType, ns, documentKey } = event;
    const key = keyOf(String(ns?.coll), documentKey?._id);
    switch (operationType) {
      case 'snapshot':
      case 'insert':
      case 'replace':
        state.set(key, structured(event['fullDocument']));
        break;
      case 'delete':
        state.delete(key);
        break;
      case 'update':
        // Repeats of what happened before a document was there, or to one that has gone since, change nothing.
        if (state.has(key)) update(state.get(key)!, event['updateDescription']);
        break;
      case 'drop':
      case 'resync':
        for (const one of state.keys()) if (one.startsWith(`${ns.coll}\n`)) state.delete(one);
        break;
      case 'rename':
        for (const one of state.keys()) if (one.startsWith(`${event['to'].coll}\n`)) state.delete(one);
        for (const [one, document] of state) {
          if (ns.db !== event['to'].db || !one.startsWith(`${ns.coll}\n`)) continue;
          state.delete(one);
          state.set(`${event['to'].coll}${one.slice(ns.coll.length)}`, document);
        }
        break;
      default:
        throw new Error(`an event that nobody asked for: ${String(operationType)}`);
    }
  }
  return state;
}

function update(document: Document, { updatedFields, removedFields, truncatedArrays }: Document): void {
  for (const { field, newSize } of truncatedArrays ?? []) {
    const array = at(document, String(field).split('.'));
    if (Array.isArray(array)) array.length = Math.min(array.length, Number(newSize));
  }
  for (const [path, value] of Object.entries(updatedFields as Document))
    set(document, path.split('.'), structured(value));
  for (const path of removedFields as string[]) remove(document, path.split('.'));
}

function at(document: Document, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (value as Document | undefined)?.[name], document);
}

function set(document: Document, path: readonly string[], value: unknown): void {
  const [name, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) document[name] = value;
  else {
    if (typeof document[name] !== 'object' || document[name] === null) document[name] = {};
    set(document[name], rest, value);
  }
}

function remove(document: Document, path: readonly string[]): void {
  const [name, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) delete document[name];
  else if (typeof document[name] === 'object' && document[name] !== null) remove(document[name], rest);
}

function structured(value: unknown): Document {
  return BSON.deserialize(BSON.serialize({ value }), { promoteValues: false })['value'];
}

function keyOf(coll: string, id: unknown): string {
  return `${coll}\n${BSON.EJSON.stringify({ id }, { relaxed: false })}`;
}

/** What is other in the collections than in `state`; the first few. */
export async function differences(db: Db, state: ReadonlyMap<string, Document>): Promise<string[]> {
  const found: string[] = [];
  const left = new Set(state.keys());
  for (const { name } of await db.listCollections({ type: 'collection' }).toArray()) {
    if (name.startsWith('system.')) continue;
    for await (const document of db.collection(name).find({}, { promoteValues: false })) {
      const key = keyOf(name, document._id);
      left.delete(key);
      const theirs = text(document);
      const ours = state.has(key) ? text(state.get(key)!) : 'nothing';
      if (theirs !== ours) found.push(`${key}: ${ours} instead of ${theirs}`);
    }
  }
  for (const key of left) found.push(`${key}: ${text(state.get(key)!)} instead of nothing`);
  return found.length > 5 ? [...found.slice(0, 5), `and ${found.length - 5} more`] : found;
}

/** Whatever the order of its fields: an update puts new ones where the server does not. */
function text(document: Document): string {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== 'object' || value === null || '_bsontype' in value) return value;
    return Object.fromEntries(
      Object.entries(value)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([k, v]) => [k, sorted(v)]),
    );
  };
  return BSON.EJSON.stringify(sorted(document), { relaxed: false });
}
