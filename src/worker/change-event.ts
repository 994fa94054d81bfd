/**
 * The head of one event of a change stream: what it is, where it belongs and where its parts lie in the batch's bytes (-1: not
 * there). One `ChangeEvent` is filled again and again. `shapedEvent` makes of an event what a subscription gets that did not ask
 * for all that the stream shows.
 */
import { emptyPlace, readResumeToken } from '../source/resume-token.ts';
import { BsonBuilder } from './bson-builder.ts';
import { BsonType, documentLast, encodeText, malformed, nameEnd, nameIs, stringEnd, valueEnd } from './bson.ts';

/** A field of an event that came without its documents, being too large for the server to send. */
export const TOO_LARGE_FIELD = 'tailrace.tooLarge';

/** Two texts, without their closing zeros. */
export interface NamespacePlaces {
  dbStart: number;
  dbEnd: number;
  collStart: number;
  collEnd: number;
}

export class ChangeEvent {
  /** The text of `operationType`. */
  typeStart = -1;
  typeEnd = -1;
  /** Where the values lie. */
  clusterTime = -1;
  wall = -1;
  collectionUUID = -1;
  documentKey = -1;
  updateDescription = -1;
  operationDescription = -1;
  tooLarge = false;
  /** Something that a subscription without `expanded` does not get may be in it. */
  more = false;
  /** The closing zero of the whole event. */
  last = -1;
  readonly token = emptyPlace();
  tokenKnown = false;
  readonly ns: NamespacePlaces = { dbStart: -1, dbEnd: -1, collStart: -1, collEnd: -1 };
  readonly to: NamespacePlaces = { dbStart: -1, dbEnd: -1, collStart: -1, collEnd: -1 };

  clear(): void {
    this.typeStart = -1;
    this.typeEnd = -1;
    this.clusterTime = -1;
    this.wall = -1;
    this.collectionUUID = -1;
    this.documentKey = -1;
    this.updateDescription = -1;
    this.operationDescription = -1;
    this.tooLarge = false;
    this.more = false;
    this.last = -1;
    this.tokenKnown = false;
    clearPlaces(this.ns);
    clearPlaces(this.to);
  }
}

function clearPlaces(places: NamespacePlaces): void {
  places.dbStart = -1;
  places.dbEnd = -1;
  places.collStart = -1;
  places.collEnd = -1;
}

const names = {
  id: encodeText('_id'),
  data: encodeText('_data'),
  operationType: encodeText('operationType'),
  clusterTime: encodeText('clusterTime'),
  wallTime: encodeText('wallTime'),
  collectionUUID: encodeText('collectionUUID'),
  ns: encodeText('ns'),
  to: encodeText('to'),
  db: encodeText('db'),
  coll: encodeText('coll'),
  documentKey: encodeText('documentKey'),
  updateDescription: encodeText('updateDescription'),
  operationDescription: encodeText('operationDescription'),
  disambiguatedPaths: encodeText('disambiguatedPaths'),
  nsType: encodeText('nsType'),
  tooLarge: encodeText(TOO_LARGE_FIELD),
};

/** What was found before a `MalformedBson` is thrown stays in `event`: it may be enough to say whose it was. */
export function readChangeEvent(event: ChangeEvent, bytes: Uint8Array, start: number, limit: number): void {
  event.clear();
  const last = documentLast(bytes, start, limit);
  event.last = last;
  let at = start + 4;
  while (at < last) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    at = valueEnd(bytes, type, value, last);
    // No two of these names begin with the same letter but those that are compared further.
    switch (bytes[name]!) {
      case 0x5f: // _
        if (type === BsonType.document && nameIs(bytes, name, names.id)) readToken(event, bytes, value, last);
        break;
      case 0x6f: // o
        if (type === BsonType.string && nameIs(bytes, name, names.operationType)) {
          event.typeStart = value + 4;
          event.typeEnd = at - 1;
        } else if (type === BsonType.document && nameIs(bytes, name, names.operationDescription)) {
          event.operationDescription = value;
          event.more = true;
        }
        break;
      case 0x63: // c
        if (type === BsonType.timestamp && nameIs(bytes, name, names.clusterTime)) event.clusterTime = value;
        else if (type === BsonType.binary && nameIs(bytes, name, names.collectionUUID)) {
          event.collectionUUID = value;
          event.more = true;
        }
        break;
      case 0x77: // w
        if (type === BsonType.date && nameIs(bytes, name, names.wallTime)) event.wall = value;
        break;
      case 0x6e: // n
        if (type === BsonType.document && nameIs(bytes, name, names.ns)) readNamespace(event.ns, bytes, value, last);
        else if (nameIs(bytes, name, names.nsType)) event.more = true;
        break;
      case 0x74: // t
        if (type === BsonType.document && nameIs(bytes, name, names.to)) readNamespace(event.to, bytes, value, last);
        else if (nameIs(bytes, name, names.tooLarge)) event.tooLarge = true;
        break;
      case 0x64: // d
        if (type === BsonType.document && nameIs(bytes, name, names.documentKey)) event.documentKey = value;
        break;
      case 0x75: // u
        if (type === BsonType.document && nameIs(bytes, name, names.updateDescription)) event.updateDescription = value;
        break;
      default:
    }
  }
  if (at !== last) malformed('an event ends in the middle of a value');
}

function readToken(event: ChangeEvent, bytes: Uint8Array, start: number, limit: number): void {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    at = valueEnd(bytes, type, value, last);
    if (type !== BsonType.string || !nameIs(bytes, name, names.data)) continue;
    event.tokenKnown = readResumeToken(event.token, bytes, value + 4, at - 1);
  }
}

function readNamespace(places: NamespacePlaces, bytes: Uint8Array, start: number, limit: number): void {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    at = valueEnd(bytes, type, value, last);
    if (type !== BsonType.string) continue;
    const end = stringEnd(bytes, value, last) - 1;
    if (nameIs(bytes, name, names.db)) {
      places.dbStart = value + 4;
      places.dbEnd = end;
    } else if (nameIs(bytes, name, names.coll)) {
      places.collStart = value + 4;
      places.collEnd = end;
    }
  }
}

/**
 * The event without what only `expanded` subscriptions get. `keepDescription`: the operation exists only as an expanded event,
 * and would be nothing without its description.
 */
export function shapedEvent(
  event: ChangeEvent,
  bytes: Uint8Array,
  start: number,
  { keepDescription }: { readonly keepDescription: boolean },
): Uint8Array {
  const shaped = new BsonBuilder();
  const { last } = event;
  for (let at = start + 4; at < last;) {
    const name = at + 1;
    const value = nameEnd(bytes, name);
    const end = valueEnd(bytes, bytes[at]!, value, last);
    if (value === event.updateDescription) {
      shaped.begin(BsonType.document, 'updateDescription');
      shaped.fields(bytes, value, documentLast(bytes, value, last), ['disambiguatedPaths']);
      shaped.end();
    } else if (
      value !== event.collectionUUID &&
      (keepDescription || value !== event.operationDescription) &&
      !nameIs(bytes, name, names.nsType) &&
      !nameIs(bytes, name, names.id)
    ) {
      shaped.element(bytes, at, end);
    }
    at = end;
  }
  return shaped.finish();
}
