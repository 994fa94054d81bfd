/** What the server itself says that a document was at a time: the states that images are held against. */
import { BSON, Long, MongoClient, Timestamp } from 'mongodb';
import type { ClientSession, Document } from 'mongodb';
import { exactValues } from '../../src/source/exact-values.ts';
import { rawCursor } from '../../src/source/cursor.ts';
import { documentAt, readDocuments } from '../../src/source/reply.ts';
import { putJsonDocument } from '../../src/worker/json-writer.ts';
import { Output } from '../../src/worker/output.ts';

const { EJSON } = BSON;

/** The server keeps what was there for so long. */
export function withHistory(version: string | undefined): readonly string[] {
  const setting = version !== undefined && version < '5' ? 'maxTarget' : 'min';
  return ['--setParameter', `${setting}SnapshotHistoryWindowInSeconds=3600`];
}

export interface Time {
  readonly t: number;
  readonly i: number;
}

export class ServerStates implements AsyncDisposable {
  readonly #client: MongoClient;
  readonly #session: ClientSession;
  readonly #inTransactions: boolean;
  #transactions = BigInt(Date.now()) * 1_000n;

  static async open(uri: string, version: string): Promise<ServerStates> {
    return new ServerStates(await MongoClient.connect(uri), version < '5');
  }

  private constructor(client: MongoClient, inTransactions: boolean) {
    this.#client = client;
    this.#session = client.startSession({ causalConsistency: false });
    this.#inTransactions = inTransactions;
  }

  /** As canonical Extended JSON, likewise `id`. Undefined where there was none; null where it cannot be asked for. */
  async at({ t, i }: Time, place: { db: string; coll: string }, id: string): Promise<string | undefined | null> {
    // Objects of JavaScript sort fields that look like numbers.
    const query = BSON.serialize({ _id: EJSON.parse(id, { relaxed: false }) as unknown });
    if (jsonOf(query) !== `{"_id":${id}}`) return null;
    const [value] = exactValues(query);
    const level = { level: 'snapshot', atClusterTime: new Timestamp({ t, i }) };
    this.#transactions += 1n;
    const concern: Document = this.#inTransactions
      ? {
          startTransaction: true,
          autocommit: false,
          txnNumber: Long.fromBigInt(this.#transactions),
          readConcern: level,
        }
      : { readConcern: level };
    const find = { find: place.coll, filter: { _id: { $eq: value } }, limit: 1, singleBatch: true, ...concern };
    const reply = await this.#client.db(place.db).command(find, { raw: true, session: this.#session });
    const { batch, entries } = readDocuments(rawCursor(reply));
    if (entries === 0) return undefined;
    return jsonOf(documentAt(batch, 0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.endSession();
    await this.#client.close();
  }
}

function jsonOf(document: Uint8Array): string {
  const out = new Output(document.length * 20 + 64);
  const end = putJsonDocument(out, 0, document, 0, document.length, false);
  return Buffer.from(out.bytes.subarray(0, end)).toString();
}
