/**
 * What an oplog holds after the load of `load.ts` was written to it, made without a server: a `nextBatch` of as many entries as a
 * reply may be asked for, field by field as mongod 6.0 writes retryable inserts and updates. It knows where each entry ends, and
 * where its `ts` lies, so that whoever serves it can count on for ever without touching anything else.
 */
import { BSON, Binary, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { COLLECTIONS, LOAD_DB, pieceOf } from '../load.ts';

export interface Recording {
  /** The elements of the array `nextBatch`, without its length in front and its end. */
  readonly elements: Buffer;
  /** Per entry: where it ends, and where its `ts` lies, in `elements`. */
  readonly ends: Uint32Array;
  readonly timestamps: Uint32Array;
}

const TS_FIELD = Buffer.from('\x11ts\0', 'latin1');

export function record(entries: number): Recording {
  const documents: Uint8Array[] = [];
  const uuids = Array.from({ length: COLLECTIONS }, () => new UUID());
  const session = { id: new UUID(), uid: new Binary(Buffer.alloc(32, 7)) };
  for (let piece = 0; documents.length < entries; piece++) {
    const collection = piece % COLLECTIONS;
    const operations = pieceOf(collection);
    for (const [statement, operation] of operations.entries()) {
      documents.push(
        BSON.serialize({
          lsid: session,
          txnNumber: Long.fromNumber(piece + 1),
          ...('insertOne' in operation ? inserted(operation.insertOne.document) : updated(operation)),
          ns: `${LOAD_DB}.orders_${collection}`,
          ui: uuids[collection],
          stmtId: statement,
          ts: new Timestamp({ t: 1, i: 1 }),
          t: Long.fromNumber(1),
          v: Long.fromNumber(2),
          wall: new Date(),
          prevOpTime: { ts: new Timestamp({ t: 1, i: 1 }), t: Long.fromNumber(1) },
        }),
      );
    }
  }
  return laidOut(documents.slice(0, entries));
}

function inserted(document: Document): Document {
  return { op: 'i', o: document, o2: { _id: document['_id'] } };
}

/** `$set` of fields, and of one inside a document, as a `$v: 2` diff. */
function updated(operation: Document): Document {
  const { filter, update } = operation['updateOne'] as { filter: Document; update: Document };
  const { 'address.zip': zip, ...u } = update['$set'] as Document;
  return { op: 'u', o: { $v: 2, diff: { u, saddress: { u: { zip } } } }, o2: filter };
}

function laidOut(documents: readonly Uint8Array[]): Recording {
  const ends = new Uint32Array(documents.length);
  const timestamps = new Uint32Array(documents.length);
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const [index, document] of documents.entries()) {
    const name = Buffer.from(`\x03${index}\0`, 'latin1');
    const ts = Buffer.from(document.buffer, document.byteOffset, document.byteLength).indexOf(TS_FIELD);
    timestamps[index] = at + name.byteLength + ts + TS_FIELD.byteLength;
    parts.push(name, document);
    at += name.byteLength + document.byteLength;
    ends[index] = at;
  }
  return { elements: Buffer.concat(parts), ends, timestamps };
}
