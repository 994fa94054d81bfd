/** The commands of the workload that change collections and databases rather than documents. */
import { Int32 } from 'bson';
import { admin } from './steps.ts';
import type { Model, Step } from './steps.ts';

const FAVOURITE = { db: 'eq_a', coll: 'c' };

export function ddlStep(model: Model): Step {
  const { random } = model;
  // One collection more often than the others, so that an index that is dropped has a chance to be there.
  const { db, coll } = random.chance(0.5) ? FAVOURITE : model.place();
  const other = model.place();
  const full = `${db}.${coll}`;
  return random.weighted<() => Step>([
    [5, () => admin(db, { create: coll, ...creation(model) })],
    [4, () => admin(db, { drop: coll })],
    [
      4,
      () =>
        admin('admin', {
          renameCollection: full,
          to: `${random.chance(0.7) ? db : other.db}.${other.coll}`,
          ...(random.chance(0.6) ? { dropTarget: true } : {}),
        }),
    ],
    [12, () => admin(db, { createIndexes: coll, indexes: random.many(random.between(1, 3), () => index(model)) })],
    [
      9,
      () =>
        admin(db, { dropIndexes: coll, index: random.pick<unknown>(['*', '*', 'k_1', ['k_1', 'sparse'], { k: 1 }]) }),
    ],
    [8, () => admin(db, { collMod: coll, ...modification(model) })],
    [1, () => admin(db, { dropDatabase: 1 })],
    [
      3,
      () => admin(db, aggregate(coll, { $out: random.chance(0.5) ? other.coll : { db: other.db, coll: other.coll } })),
    ],
    [4, () => admin(db, aggregate(coll, { $merge: merge(model, other) }))],
    [1, () => admin(db, { convertToCapped: coll, size: new Int32(1 << 20) })],
    [1, () => admin(db, { create: `view ${coll}`, viewOn: coll, pipeline: [{ $match: { k: new Int32(1) } }] })],
    [1, () => admin(db, { collMod: `view ${coll}`, viewOn: coll, pipeline: [] })],
    [1, () => admin(db, { drop: `view ${coll}` })],
    [1, () => admin(db, { create: 'measured', timeseries: { timeField: 'at', metaField: 'm' } })],
    [2, () => admin(db, { insert: 'measured', documents: [{ at: new Date(1e12 + random.below(1e9)), m: 1, v: 2 }] })],
    [1, () => admin(db, { drop: 'measured' })],
    [1, () => admin(db, { insert: 'system.js', documents: [{ _id: `f${random.below(1e6)}`, value: 1 }] })],
    [1, () => admin(db, { createUser: `u${random.below(1e6)}`, pwd: 'x', roles: [] })],
    [1, () => admin(db, { cloneCollectionAsCapped: coll, toCollection: 'capped', size: new Int32(1 << 20) })],
    [1, () => admin(db, { compact: coll })],
  ])();
}

function aggregate(coll: string, last: object): Record<string, unknown> {
  return { aggregate: coll, pipeline: [{ $match: { k: { $lt: new Int32(3) } } }, last], cursor: {} };
}

function merge({ random }: Model, into: { db: string; coll: string }): object {
  return {
    into,
    on: '_id',
    whenMatched: random.pick<unknown>(['replace', 'merge', 'keepExisting', [{ $set: { merged: '$$new.k' } }]]),
    whenNotMatched: random.pick(['insert', 'discard']),
  };
}

function creation({ random }: Model): object {
  return random.pick<object>([
    {},
    { capped: true, size: new Int32(1 << 20), max: new Int32(20) },
    { collation: { locale: 'fr', strength: new Int32(2) } },
    { validator: { n: { $exists: true } }, validationLevel: 'off' },
    { clusteredIndex: { key: { _id: new Int32(1) }, unique: true, name: 'clustered' } },
    { changeStreamPreAndPostImages: { enabled: true } },
    { validator: { $jsonSchema: { required: ['n'] } }, validationAction: 'warn' },
    { storageEngine: { wiredTiger: { configString: 'block_compressor=zlib' } } },
  ]);
}

function index({ random }: Model): object {
  return random.pick<object>([
    { key: { k: new Int32(1) }, name: 'k_1' },
    { key: { 'o.p.q': new Int32(-1) }, name: 'o.p.q_-1' },
    { key: { k: new Int32(1), n: new Int32(-1) }, name: 'two', hidden: true },
    { key: { sparse: new Int32(1) }, name: 'sparse', sparse: true },
    { key: { gone: new Int32(1) }, name: 'ttl', expireAfterSeconds: new Int32(1 << 30) },
    { key: { '$**': new Int32(1) }, name: 'every' },
    { key: { h: 'hashed' }, name: 'hashed' },
    { key: { t: 'text' }, name: 'text' },
    { key: { n: new Int32(1) }, name: 'part', partialFilterExpression: { k: { $gt: new Int32(3) } } },
    { key: { c: new Int32(1) }, name: 'collated', collation: { locale: 'de' } },
  ]);
}

function modification({ random }: Model): object {
  return random.pick<object>([
    { index: { name: 'k_1', hidden: random.chance(0.5) } },
    { index: { name: 'ttl', expireAfterSeconds: new Int32(1 << 29) } },
    { validationLevel: random.pick(['off', 'moderate']) },
    { validator: { k: { $type: 'int' } }, validationAction: 'warn' },
    { changeStreamPreAndPostImages: { enabled: random.chance(0.5) } },
  ]);
}
