import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Binary } from 'bson';
import type { Document } from 'bson';
import { entry, insert, jsonEvents, messages, plan, run } from './fixtures.ts';

const UUID = { $binary: { base64: Buffer.alloc(16, 7).toString('base64'), subType: '04' } };

const nested = { i: { 'new.key': 1, plain: 2 }, u: { '3': 1 } };

function update(i: number, diff: Document): Document {
  return entry(i, { op: 'u', o: { $v: 2, diff }, o2: { _id: 1 } });
}

/** `disambiguatedPaths` of an update with this diff, as a server of this version would show it. */
function paths(diff: Document, serverVersion = 700): unknown {
  const [event] = jsonEvents(run(plan([{ expanded: true }]), [update(1, diff)], { serverVersion }));
  return event!['updateDescription'].disambiguatedPaths;
}

test('events of an expanded subscription carry the UUID of the collection, in the place where the server has it', () => {
  const entries = [
    insert(1, { _id: 1 }),
    update(2, { u: { a: 1 } }),
    entry(3, { op: 'u', o: { _id: 1, b: 1 }, o2: { _id: 1 } }),
    entry(4, { op: 'd', o: { _id: 1 } }),
  ];
  const events = jsonEvents(run(plan([{ expanded: true }]), entries));
  assert.deepEqual(
    events.map((event) => [event['operationType'], event['collectionUUID']]),
    ['insert', 'update', 'replace', 'delete'].map((operation) => [operation, UUID]),
  );
  assert.deepEqual(Object.keys(events[0]!), [
    '_id',
    'operationType',
    'clusterTime',
    'collectionUUID',
    'wallTime',
    'fullDocument',
    'ns',
    'documentKey',
  ]);
  for (const { body } of messages(run(plan([{ expanded: true, format: 'bson' }]), entries))) {
    const event = BSON.deserialize(body, { promoteBuffers: false });
    assert.deepEqual(new Binary(event['collectionUUID'].buffer, 4).toString('hex'), '07'.repeat(16));
    assert.equal(Object.keys(event)[3], 'collectionUUID');
  }
});

test('one subscription expands and another with the same format does not: each gets its own bytes', () => {
  const events = jsonEvents(run(plan([{}, { expanded: true }, {}, { expanded: true }]), [insert(1, { _id: 1 })]));
  assert.deepEqual(
    events.map((event) => 'collectionUUID' in event),
    [false, true, false, true],
  );
});

test('an entry without a UUID has an event without one', () => {
  const [event] = jsonEvents(run(plan([{ expanded: true }]), [entry(1, { ui: undefined, o: { _id: 1 } })]));
  assert.equal('collectionUUID' in event!, false);
});

test('paths that tell fields from places in arrays by themselves are not disambiguated', () => {
  assert.deepEqual(paths({ u: { a: 1 }, sb: { u: { c: 1 } } }), {});
  assert.deepEqual(paths({ slist: { a: true, l: 3, u0: 1, s1: { u: { x: 1 } } } }), {});
  assert.deepEqual(paths({ u: { '0': 1 }, s7: { u: { x: 1 } } }), {}, 'a number in front is a field');
  assert.deepEqual(paths({ sb: { u: { '01': 1, '-1': 1, '1a': 1 } } }), {}, 'no index is written so');
});

test('a number that is a field is told from one that is a place in an array', () => {
  assert.deepEqual(paths({ sb: { u: { '0': 1 } } }), { 'b.0': ['b', '0'] });
  assert.deepEqual(paths({ sb: { a: true, s4: { u: { '12': 1 }, sx: { u: { y: 1 } } } } }), {
    'b.4.12': ['b', 4, '12'],
  });
  assert.deepEqual(paths({ sb: { s0: { a: true, l: 2, u1: 1 } } }), { 'b.0': ['b', '0'], 'b.0.1': ['b', '0', 1] });
});

test('a dot inside a name is told from one between names', () => {
  assert.deepEqual(paths({ i: { 'x.y': 1 }, d: { 'z.': false } }), { 'x.y': ['x.y'], 'z.': ['z.'] });
  assert.deepEqual(paths({ 'sp.q': { u: { r: 1 } } }), { 'p.q.r': ['p.q', 'r'] });
});

test('updated fields come before removed ones, and what is further inside comes last', () => {
  const diff = { d: { 'a.b': false }, ...nested, s0: { u: { '1': 1 } }, sw: { d: { '5': false }, u: { '6': 1 } } };
  assert.deepEqual(Object.keys(paths(diff) as object), ['new.key', 'a.b', '0.1', 'w.6', 'w.5']);
});

test('only servers from 6.1 on show them, and only of the newer form of updates', () => {
  assert.equal(paths({ sb: { u: { '0': 1 } } }, 600), undefined);
  const old = entry(1, { op: 'u', o: { $v: 1, $set: { 'b.0': 1 } }, o2: { _id: 1 } });
  const [event] = jsonEvents(run(plan([{ expanded: true }]), [old], { serverVersion: 700 }));
  assert.equal('disambiguatedPaths' in event!['updateDescription'], false);
});

test('BSON has the same paths, places as 32-bit integers', () => {
  const of = plan([{ expanded: true, format: 'bson' }]);
  const diff = { sb: { a: true, s4: { u: { '12': 1 } } } };
  const [message] = messages(run(of, [update(1, diff)], { serverVersion: 700 }));
  const { updateDescription } = BSON.deserialize(message!.body, { promoteValues: false });
  assert.equal(
    BSON.EJSON.stringify(updateDescription.disambiguatedPaths, { relaxed: false }),
    '{"b.4.12":["b",{"$numberInt":"4"},"12"]}',
  );
});
