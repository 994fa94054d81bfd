/**
 * One change event that is about to be written, as places in the batch's bytes (-1: not there). The encoder fills the same
 * object for every event; the JSON and the BSON writer read it.
 */
import { putAscii, putUnsigned } from './json-text.ts';
import { put, textWords } from './output.ts';
import type { Output, Words } from './output.ts';
import { BEGIN_INDEX, END_INDEX, eventIdTail } from './protocol.ts';
import type { Route } from './route.ts';
import { UpdateDescription } from './update.ts';

export const NULL_DOCUMENT = -2;

export class EventView {
  bytes: Uint8Array = new Uint8Array(0);
  /** Of the source, with the colon: "shop:". */
  idPrefix: Words = textWords('');
  route: Route;
  /** One of `Crud`. */
  crud = 0;
  seconds = 0;
  increment = 0;
  index = 0;
  /** Where a date's value lies, if events of this server carry it. */
  wall = -1;
  /** The first byte that does not belong to the operation. */
  limit = 0;
  /** `NULL_DOCUMENT`: there is none any more. */
  fullDocument = -1;
  /** The first byte that does not belong to what `fullDocument` lies in. */
  fullDocumentLimit = 0;
  /** When `fullDocument` was looked up, of a document that may be newer than the change; -1: it was not. */
  lookedUpSeconds = -1;
  lookedUpIncrement = 0;
  /** The document before the change. */
  before = -1;
  documentKey = -1;
  /** For an insert without a key document: where the full document's `_id` element starts. */
  idElement = -1;
  /** Only in a transaction. */
  lsid = -1;
  txnNumber = -1;
  /** Where a binary's value lies, for those who asked for it. */
  collectionUUID = -1;
  /** A BSON document of its own; undefined where the event does not carry it. */
  disambiguatedPaths: Uint8Array | undefined;
  /** Where a whole event lies, made already; it is in `bytes`, and then nothing else here but its id and route matters. */
  document = -1;
  readonly update = new UpdateDescription();

  constructor(route: Route) {
    this.route = route;
  }
}

/** The text of the event's `_id`. */
export function putEventId(out: Output, pos: number, event: EventView): number {
  const to = out.bytes;
  pos = put(out, pos, event.idPrefix);
  if (event.index >= END_INDEX && event.index <= BEGIN_INDEX) {
    return putAscii(out, pos, eventIdTail(event.seconds, event.increment, event.index));
  }
  pos = putUnsigned(out, pos, event.seconds);
  to[pos] = 0x2e;
  pos = putUnsigned(out, pos + 1, event.increment);
  to[pos] = 0x2e;
  return putUnsigned(out, pos + 1, event.index);
}
