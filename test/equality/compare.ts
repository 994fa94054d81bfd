/**
 * Holds our events against the server's: the same events, in the same order, and each with the same fields in the same order
 * with the same bytes – but for `_id`, which is ours and must say the same place as the server's resume token.
 */
import { EJSON, deserialize } from 'bson';
import { elementsOf } from './bson.ts';
import type { Element } from './bson.ts';
import { comparePlaces } from './engine-listener.ts';
import type { ListenedEvent } from './server-listener.ts';

export interface Difference {
  readonly place: string;
  readonly what: string;
  readonly ours: string;
  readonly theirs: string;
}

export function differences(ours: readonly ListenedEvent[], theirs: readonly ListenedEvent[]): Difference[] {
  const found: Difference[] = [];
  let a = 0;
  let b = 0;
  while (a < ours.length || b < theirs.length) {
    const our = ours[a];
    const their = theirs[b];
    const order = our === undefined ? 1 : their === undefined ? -1 : comparePlaces(our.place, their.place);
    if (order === 0) {
      const difference = compareEvents(our!, their!);
      if (difference !== undefined) found.push(difference);
      a += 1;
      b += 1;
    } else if (order < 0) {
      found.push({ place: placeText(our!), what: 'only we have this event', ours: inWords(our!.bytes), theirs: '' });
      a += 1;
    } else {
      found.push({ place: placeText(their!), what: 'we lack this event', ours: '', theirs: inWords(their!.bytes) });
      b += 1;
    }
  }
  return found;
}

function compareEvents(our: ListenedEvent, their: ListenedEvent): Difference | undefined {
  const ours = elementsOf(our.bytes).filter(({ name }) => name !== '_id');
  const theirs = elementsOf(their.bytes).filter(({ name }) => name !== '_id');
  const place = placeText(their);
  for (const field of theirs) {
    const same = ours.find(({ name }) => name === field.name);
    if (same === undefined)
      return { place, what: `we lack ${field.name}`, ours: inWords(our.bytes), theirs: inWords(their.bytes) };
    if (same.type !== field.type || Buffer.compare(same.bytes, field.bytes) !== 0) {
      return { place, what: `${field.name} differs`, ours: elementInWords(same), theirs: elementInWords(field) };
    }
  }
  if (ours.length > theirs.length)
    return { place, what: 'we have more fields', ours: names(ours), theirs: names(theirs) };
  if (names(ours) === names(theirs)) return undefined;
  return { place, what: 'the fields are in another order', ours: names(ours), theirs: names(theirs) };
}

/** But for the transaction's two, which servers put before all else or behind it. */
function names(elements: readonly Element[]): string {
  return elements
    .map(({ name }) => name)
    .filter((name) => name !== 'lsid' && name !== 'txnNumber')
    .join(' ');
}

function placeText({ place: { seconds, increment, index } }: ListenedEvent): string {
  return `${seconds}.${increment}.${index}`;
}

function elementInWords({ name, type, bytes }: Element): string {
  if (type === 3 || type === 4) return `${inWords(bytes)} (${Buffer.from(bytes).toString('hex').slice(0, 400)})`;
  return `${name}: type ${type}, ${Buffer.from(bytes).toString('hex')}`;
}

function inWords(bytes: Uint8Array): string {
  const text = EJSON.stringify(deserialize(bytes, { promoteValues: false, bsonRegExp: true }), { relaxed: false });
  return text.length > 1_000 ? `${text.slice(0, 1_000)} …` : text;
}
