/**
 * Writes that go on while something breaks: inserts, updates and deletes, evenly over some collections, until they are asked
 * to stop. A write that fails is not repeated; what the oplog holds afterwards is the truth, not what was meant.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import type { AnyBulkWriteOperation, Document } from 'mongodb';
import { historyOf } from './history.ts';
import type { Change } from './history.ts';

export interface TrafficOptions {
  readonly uri: string;
  readonly db: string;
  readonly collections?: number;
  /** About so many; the rate is even, so that a fault falls into the flow whenever it comes. */
  readonly eventsPerSecond?: number;
  readonly padding?: number;
}

const TICK_MS = 20;

/** For a subscription: of many on several queues at once, one event a message would be the broker's limit and not the engine's. */
export function batchFor(eventsPerSecond: number): object {
  return eventsPerSecond > 2_000 ? { batch: { maxEvents: 100 } } : {};
}

export class Traffic implements AsyncDisposable {
  readonly #client: MongoClient;
  readonly #options: Required<TrafficOptions>;
  readonly #stop = new AbortController();
  readonly #writing: Promise<unknown>;

  constructor(options: TrafficOptions) {
    this.#options = { collections: 8, eventsPerSecond: 2_000, padding: 200, ...options };
    this.#client = new MongoClient(options.uri, { serverSelectionTimeoutMS: 2_000 });
    this.#writing = Promise.all(Array.from({ length: this.#options.collections }, async (_, c) => this.#write(c)));
  }

  /** Stops, and says what was written. */
  async end(): Promise<Change[]> {
    await this[Symbol.asyncDispose]();
    await using client = await MongoClient.connect(this.#options.uri);
    return await historyOf(client, this.#options.db);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#writing;
    await this.#client.close();
  }

  async #write(c: number): Promise<void> {
    const { db, collections, eventsPerSecond, padding } = this.#options;
    const filling = 'x'.repeat(padding);
    const began = performance.now();
    let n = 0;
    while (!this.#stop.signal.aborted) {
      const due = ((performance.now() - began) * eventsPerSecond) / collections / 1_000;
      const operations: AnyBulkWriteOperation[] = [];
      for (; n < due && operations.length < 1_000; n++) operations.push(operation(n, filling));
      try {
        // Unordered: three commands, and not one each time the kind changes.
        if (operations.length > 0)
          await this.#client.db(db).collection(`c${c}`).bulkWrite(operations, { ordered: false });
      } catch {
        // The server is being ended under us, most likely.
      }
      await sleep(TICK_MS);
    }
  }
}

/** In every ten: six inserts, three updates and a delete of documents inserted just before. */
function operation(n: number, filling: string): AnyBulkWriteOperation {
  const kind = n % 10;
  if (kind < 6) return { insertOne: { document: { _id: n, n, filling } as Document } };
  const filter = { _id: n - kind + (kind - 6) } as Document;
  return kind < 9 ? { updateOne: { filter, update: { $set: { n } } } } : { deleteOne: { filter } };
}
