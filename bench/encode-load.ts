/**
 * What the transcoder is measured on: a batch of inserts and one of `$set` updates as a `getMore` brings them, the same bytes in
 * every run.
 */
import { BSON, Binary, Long, ObjectId, Timestamp } from 'bson';
import type { Document } from 'bson';

export const ENTRIES = 5000;
export const COLLECTIONS = 16;
const START_SECONDS = 1_795_327_615;

/** A small generator of its own, so that every run encodes the same bytes. */
let state = 42;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
  return (state >>> 8) % below;
}

function objectId(): ObjectId {
  return new ObjectId(Uint8Array.from({ length: 12 }, () => random(256)));
}

function pick<T>(from: readonly T[]): T {
  return from[random(from.length)]!;
}

function order(): Document {
  return {
    customer: objectId(),
    status: pick(['new', 'paid', 'shipped', 'returned']),
    total: random(100_000) / 100,
    quantity: random(50),
    created: new Date(START_SECONDS * 1000 - random(86_400_000)),
    address: {
      street: `${pick(['Main', 'Mill', 'Station'])} Street ${random(200)}`,
      city: 'Bern',
      zip: String(1000 + random(9000)),
    },
    items: [
      { sku: `sku-${random(10_000)}`, n: random(9), price: random(10_000) / 100 },
      { sku: `sku-${random(10_000)}`, n: random(9), price: random(10_000) / 100 },
    ],
    note: 'leave it at the door, please; the bell is out of order, so knock loudly or call first',
    paid: random(2) === 1,
  };
}

function batch(operation: (key: Document) => Document): Uint8Array {
  const entries = Array.from({ length: ENTRIES }, (_, k) => {
    const at = START_SECONDS + Math.floor(k / 1000);
    return {
      ...operation({ _id: objectId() }),
      ui: new Binary(Buffer.alloc(16, k % COLLECTIONS), 4),
      ts: new Timestamp({ t: at, i: (k % 1000) + 1 }),
      t: Long.fromInt(3),
      v: Long.fromInt(2),
      wall: new Date(at * 1000 + random(1000)),
    };
  });
  return BSON.serialize(Object.fromEntries(entries.entries()));
}

function namespace(): string {
  return `shop.orders_${random(COLLECTIONS)}`;
}

export const inserts = batch((key) => ({ op: 'i', ns: namespace(), o: { ...key, ...order() }, o2: key }));
export const updates = batch((key) => {
  const u = { status: 'shipped', changed: new Date(START_SECONDS * 1000 + random(1e6)), quantity: random(50) };
  return {
    op: 'u',
    ns: namespace(),
    o: { $v: 2, diff: { u, saddress: { u: { zip: String(random(9999)) } } } },
    o2: key,
  };
});
