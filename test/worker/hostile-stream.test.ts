/** A change stream's events that are no BSON, or lie about themselves: as `hostile.test.ts` for the oplog's entries. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { START_SECONDS, WALL, batchOf, messages } from './fixtures.ts';
import { CASES, campaign, encode, everyType, hostilePlan } from './hostile.ts';

const of = {
  ...hostilePlan,
  source: { ...hostilePlan.source, changeStream: { expanded: true } },
};
const ui = new UUID('11111111-2222-4333-8444-555555555555');

function event(i: number, operationType: string, fields: Document = {}): Document {
  const hex = (n: number): string => n.toString(16).padStart(8, '0');
  return {
    _id: { _data: `82${hex(START_SECONDS)}${hex(i)}2b022c0100296e5a1004` },
    operationType,
    clusterTime: new Timestamp({ t: START_SECONDS, i }),
    collectionUUID: ui,
    wallTime: WALL,
    ns: { db: 'shop', coll: 'orders' },
    ...fields,
  };
}

function inserted(i: number, _id: unknown, more: Document = {}): Document {
  return event(i, 'insert', { fullDocument: { _id, ...more }, documentKey: { _id } });
}

const documentKey = { region: 'eu', _id: { a: 1 } };
const updateDescription = {
  updatedFields: { 'a.b': 1, c: everyType },
  removedFields: ['x', 'y.z'],
  truncatedArrays: [{ field: 'list', newSize: 2 }],
  disambiguatedPaths: { 'a.0': ['a', '0'] },
};
const originals = [
  inserted(5, everyType._id, everyType),
  event(5, 'update', { documentKey, updateDescription, lsid: { id: ui }, txnNumber: Long.fromNumber(3) }),
  event(5, 'replace', { fullDocument: everyType, documentKey }),
  event(5, 'delete', { documentKey }),
  event(5, 'drop'),
  event(5, 'dropDatabase', { ns: { db: 'shop' } }),
  event(5, 'rename', { to: { db: 'shop', coll: 'old' }, operationDescription: { to: { db: 'shop', coll: 'old' } } }),
  event(5, 'create', {
    operationDescription: { idIndex: { v: 2, key: { _id: 1 }, name: '_id_' } },
    nsType: 'collection',
  }),
  event(5, 'createIndexes', { operationDescription: { indexes: [{ v: 2, key: { a: 1 }, name: 'a_1' }] } }),
  event(5, 'modify', {
    operationDescription: { validator: {} },
    stateBeforeChange: { collectionOptions: { uuid: ui } },
  }),
  event(5, 'invalidate'),
  event(5, 'brandNew'),
].map((one) => BSON.serialize(one));

test("damage inside a change stream's events never crashes, hangs, reads outside, or harms what lies around it", (t) => {
  const good = [0, 1, 2].map((k) => inserted(0x7f00_0000 + k, `good ${k}`));
  campaign(t, { of, originals, good: [good[0]!, good[1]!, good[2]!], cases: CASES / 5 });
});

test("a thousand levels in a change stream's event are parked, and the events around it delivered", () => {
  let deep: Document = {};
  for (let level = 0; level < 1000; level++) deep = { n: deep };
  const shapes = [
    inserted(5, 1, deep),
    inserted(5, deep),
    event(5, 'delete', { documentKey: { _id: deep } }),
    event(5, 'update', {
      documentKey: { _id: 1 },
      updateDescription: { ...updateDescription, updatedFields: { deep } },
    }),
  ];
  for (const shape of shapes) {
    const result = encode(of, batchOf([inserted(1, 1), shape, inserted(9, 9)]));
    assert.deepEqual([...result.events], [2, 2, 2]);
    assert.ok(result.parked.every(({ reason }) => reason === 'undecodable'));
    assert.ok(messages(result).every(({ first }) => first[1] !== 5));
  }
});
