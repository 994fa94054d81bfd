/**
 * Puts large events together again. With `$changeStreamSplitLargeEvent` an event over 16 MB comes as several documents, each
 * with some of its fields and a `splitEvent: {fragment, of}`; what follows it comes after its last one.
 * Invariants: nobody behind this sees a fragment; at most one event is held; and the position does not pass an event before
 * it is whole.
 */
import { deserialize } from 'bson';
import { BsonType, documentLast, encodeText, findElement, nameEnd, nameIs, valueEnd } from '../worker/bson.ts';
import { TOO_LARGE_FIELD } from '../worker/change-event.ts';
import type { StreamReply } from './reply.ts';

const idName = encodeText('_id');
const splitName = encodeText('splitEvent');

/** As the server's own events have them; the fragments have lost it. Others keep their place at the end. */
const ORDER = [
  '_id',
  'operationType',
  'clusterTime',
  'collectionUUID',
  'wallTime',
  'fullDocument',
  'ns',
  'to',
  'documentKey',
  'updateDescription',
  'operationDescription',
  'fullDocumentBeforeChange',
  'lsid',
  'txnNumber',
];

export interface JoinedReply extends StreamReply {
  /** The token is a fragment's. */
  readonly split: boolean;
}

export class Fragments {
  /** The whole event's documents so far. */
  #held: Uint8Array[] = [];
  /** The token of the last event's last fragment. A reply without events may repeat it. */
  #lastPart: Uint8Array | undefined;

  /** The reply as if there were no fragments; one that holds only the beginning of an event has no entries and no token. */
  join(reply: StreamReply): JoinedReply {
    if (this.#held.length === 0 && !holdsFragment(reply.batch)) return { ...reply, split: this.#isPart(reply.token) };
    const whole: Uint8Array[] = [];
    let behind: Uint8Array | undefined;
    for (const document of documentsOf(reply.batch)) {
      if (!isFragment(document, 0)) {
        whole.push(document);
        behind = valueOf(document, idName);
        continue;
      }
      this.#held.push(document);
      const { fragment, of } = deserialize(valueOf(document, splitName)!);
      if (fragment < of) continue;
      whole.push(merged(this.#held));
      // Behind the first fragment's token there would still be the others.
      behind = valueOf(document, idName);
      this.#lastPart = behind;
      this.#held = [];
    }
    const token = this.#held.length === 0 ? reply.token : behind;
    return {
      cursorId: reply.cursorId,
      batch: arrayOf(whole),
      entries: whole.length,
      token,
      split: this.#isPart(token),
    };
  }

  #isPart(token: Uint8Array | undefined): boolean {
    return token !== undefined && this.#lastPart !== undefined && Buffer.compare(token, this.#lastPart) === 0;
  }
}

/** The events behind a place, of a batch that may begin before it; undefined where that is all of them. */
export function eventsBehind(batch: Uint8Array, isBehind: (event: Uint8Array) => boolean): Behind | undefined {
  const all = documentsOf(batch);
  const behind = all.filter(isBehind);
  return behind.length === all.length ? undefined : { batch: arrayOf(behind), entries: behind.length };
}

type Behind = Pick<StreamReply, 'batch' | 'entries'>;

/** A batch of this one event, marked. */
export function markedTooLarge(event: Uint8Array): Uint8Array {
  const mark = Buffer.from(`\u0008${TOO_LARGE_FIELD}\0\u0001`, 'latin1');
  return arrayOf([documentOf([event.subarray(4, event.length - 1), mark])]);
}

function documentsOf(batch: Uint8Array): Uint8Array[] {
  const last = documentLast(batch, 0, batch.length);
  const documents: Uint8Array[] = [];
  for (let at = 4; at < last;) {
    const start = nameEnd(batch, at + 1);
    at = documentLast(batch, start, last) + 1;
    documents.push(batch.subarray(start, at));
  }
  return documents;
}

function holdsFragment(batch: Uint8Array): boolean {
  const last = documentLast(batch, 0, batch.length);
  for (let at = 4; at < last;) {
    const start = nameEnd(batch, at + 1);
    if (isFragment(batch, start)) return true;
    at = documentLast(batch, start, last) + 1;
  }
  return false;
}

/** `splitEvent` stands right behind the `_id`. */
function isFragment(bytes: Uint8Array, start: number): boolean {
  const last = documentLast(bytes, start, bytes.length);
  if (start + 4 >= last) return false;
  const second = valueEnd(bytes, bytes[start + 4]!, nameEnd(bytes, start + 5), last);
  return second < last && nameIs(bytes, second + 1, splitName);
}

function valueOf(document: Uint8Array, name: Uint8Array): Uint8Array | undefined {
  const element = findElement(document, 0, document.length, name);
  if (element < 0 || document[element] !== BsonType.document) return undefined;
  const start = nameEnd(document, element + 1);
  return document.subarray(start, documentLast(document, start, document.length) + 1);
}

function merged(fragments: readonly Uint8Array[]): Uint8Array {
  const elements: { readonly rank: number; readonly bytes: Uint8Array }[] = [];
  const seen = new Set<string>();
  for (const document of fragments) {
    const last = document.length - 1;
    for (let at = 4; at < last;) {
      const value = nameEnd(document, at + 1);
      const end = valueEnd(document, document[at]!, value, last);
      const name = Buffer.from(document.subarray(at + 1, value - 1)).toString();
      if (name !== 'splitEvent' && !seen.has(name)) {
        seen.add(name);
        const rank = ORDER.indexOf(name);
        elements.push({ rank: rank < 0 ? ORDER.length : rank, bytes: document.subarray(at, end) });
      }
      at = end;
    }
  }
  return documentOf(elements.sort((a, b) => a.rank - b.rank).map(({ bytes }) => bytes));
}

/** A BSON array of these documents. */
function arrayOf(documents: readonly Uint8Array[]): Uint8Array {
  return documentOf(documents.flatMap((document, n) => [Buffer.from(`\u0003${n}\0`, 'latin1'), document]));
}

function documentOf(parts: readonly Uint8Array[]): Uint8Array {
  let length = 5;
  for (const part of parts) length += part.length;
  const document = Buffer.alloc(length);
  document.writeInt32LE(length, 0);
  let at = 4;
  for (const part of parts) {
    document.set(part, at);
    at += part.length;
  }
  return document;
}
