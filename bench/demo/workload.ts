/**
 * A small shop at work: a writer per collection inserts, updates, replaces and deletes, and remembers what it did.
 * Each writer waits for one write before the next, so that the order of its list is the order of the collection's changes.
 * Every write sets the document's `rev`, which tells two updates of one document apart when they are read back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Decimal128, ObjectId } from 'mongodb';
import type { Collection, Db, Document } from 'mongodb';

export interface Written {
  readonly ns: string;
  readonly id: Id;
  readonly operation: 'insert' | 'update' | 'replace' | 'delete';
  /** What the document's `rev` became; of a delete, what it last was. */
  readonly rev: number;
}

export type Id = ObjectId | string | number;

interface Doc extends Document {
  readonly _id: Id;
}

/** A collection's habits. `n` counts its documents; a document's `rev` is the writer's business. */
interface Habit {
  readonly name: string;
  readonly pauseMs: number;
  readonly id: (n: number) => Id;
  readonly fields: (n: number) => Readonly<Record<string, unknown>>;
  readonly updates: readonly (() => Document)[];
}

const HABITS: readonly Habit[] = [
  {
    name: 'orders',
    pauseMs: 18,
    id: () => new ObjectId(),
    fields: (n) => ({
      number: `A-${1_000 + n}`,
      customer: any(200),
      status: 'placed',
      placedAt: new Date(),
      items: Array.from({ length: 1 + any(3) }, () => ({ sku: sku(any(60)), quantity: 1 + any(4), price: money() })),
      shipping: { city: oneOf(['Lisbon', 'Malmö', 'Graz', 'Utrecht']), express: any(4) === 0 },
      note: 'ring twice',
    }),
    updates: [
      () => ({ $set: { status: 'paid', 'payment.method': oneOf(['card', 'invoice']), 'payment.at': new Date() } }),
      () => ({ $set: { status: 'sent', 'shipping.carrier': 'cargo bike' }, $unset: { note: '' } }),
      () => ({ $push: { events: { at: new Date(), what: oneOf(['packed', 'scanned', 'loaded']) } } }),
      () => ({ $inc: { 'items.0.quantity': 1 } }),
    ],
  },
  {
    name: 'customers',
    pauseMs: 30,
    id: (n) => n,
    fields: (n) => ({
      name: `${oneOf(['Ada', 'Björk', 'Chidi', 'Dolores', 'Eşref'])} ${oneOf(['Lind', 'Okafor', 'Moreau'])}`,
      email: `customer${n}@example.com`,
      address: { street: 'Harbour Road', number: 1 + any(90), geo: { lat: 38.7 + Math.random(), lon: -9.1 } },
      tags: ['new'],
    }),
    updates: [
      () => ({ $set: { 'address.number': 1 + any(90) } }),
      () => ({ $addToSet: { tags: oneOf(['gold', 'newsletter', 'returns often']) } }),
      () => ({ $inc: { visits: 1 }, $currentDate: { lastSeen: true } }),
    ],
  },
  {
    name: 'inventory',
    pauseMs: 14,
    id: (n) => sku(n),
    fields: () => ({ stock: 20 + any(80), price: money(), warehouses: { north: any(20), south: any(20) } }),
    updates: [
      () => ({ $inc: { stock: -1, 'warehouses.north': -1 } }),
      () => ({ $inc: { stock: 10, 'warehouses.south': 10 } }),
      () => ({ $set: { price: money() } }),
    ],
  },
  {
    name: 'carts',
    pauseMs: 25,
    id: () => new ObjectId(),
    fields: () => ({ customer: any(200), lines: [], openedAt: new Date() }),
    updates: [
      () => ({ $push: { lines: { sku: sku(any(60)), quantity: 1 + any(3) } } }),
      () => ({ $pop: { lines: -1 } }),
    ],
  },
];

export interface WorkloadOptions {
  readonly db: Db;
  readonly durationMs: number;
  /** Each write, once the server has acknowledged it, in the order of its collection. */
  readonly onWritten: (written: Written) => void;
}

export async function work({ db, durationMs, onWritten }: WorkloadOptions): Promise<void> {
  const until = performance.now() + durationMs;
  await Promise.all(
    HABITS.map(async (habit) => write({ habit, collection: db.collection<Doc>(habit.name), until, onWritten })),
  );
}

async function write({
  habit,
  collection,
  until,
  onWritten,
}: {
  habit: Habit;
  collection: Collection<Doc>;
  until: number;
  onWritten: (written: Written) => void;
}): Promise<void> {
  const live: { readonly id: Id; rev: number }[] = [];
  for (let n = 0; performance.now() < until; await sleep(habit.pauseMs * (0.5 + Math.random()))) {
    const operation = live.length < 5 ? 'insert' : nextOperation();
    if (operation === 'insert') {
      live.push({ id: habit.id(n), rev: 0 });
      n += 1;
    }
    const place = operation === 'insert' ? live.length - 1 : any(live.length);
    const doc = live[place];
    if (doc === undefined) continue;
    const _id = doc.id;
    switch (operation) {
      case 'insert':
        await collection.insertOne({ _id, ...habit.fields(n), rev: doc.rev });
        break;
      case 'update': {
        doc.rev += 1;
        const change = oneOf(habit.updates)();
        await collection.updateOne({ _id }, { ...change, $set: { ...change['$set'], rev: doc.rev } });
        break;
      }
      case 'replace':
        doc.rev += 1;
        await collection.replaceOne({ _id }, { ...habit.fields(n), rev: doc.rev });
        break;
      case 'delete':
        await collection.deleteOne({ _id });
        live.splice(place, 1);
        break;
    }
    onWritten({ ns: collection.namespace, id: _id, operation, rev: doc.rev });
  }
}

function nextOperation(): Written['operation'] {
  const dice = Math.random();
  if (dice < 0.3) return 'insert';
  if (dice < 0.78) return 'update';
  return dice < 0.88 ? 'replace' : 'delete';
}

function any(below: number): number {
  return Math.floor(Math.random() * below);
}

function oneOf<T>(values: readonly [T, ...T[]] | readonly T[]): T {
  const value = values[any(values.length)];
  if (value === undefined) throw new Error('nothing to choose from');
  return value;
}

function sku(n: number): string {
  return `SKU-${String(n).padStart(4, '0')}`;
}

function money(): Decimal128 {
  return Decimal128.fromString((1 + Math.random() * 90).toFixed(2));
}
