import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, Timestamp, UUID as Uuid } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import type { SubscriptionPlan, WorkerPlan } from '../../src/worker/protocol.ts';
import { GATE, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import { START_SECONDS, WALL, batchOf, entry, insert, json, jsonEvents, messages, plan, run } from './fixtures.ts';

const UUID = new Uuid(Buffer.alloc(16, 7));

/** `_data` of the operation numbered `index` at (START_SECONDS, i). */
function token(i: number, index = 0): Document {
  const hex = (n: number, bytes: number): string => n.toString(16).padStart(bytes * 2, '0');
  const number = index === 0 ? '29' : index < 128 ? `2b${hex(index * 2, 1)}` : `2c${hex(index * 2, 2)}`;
  return { _data: `82${hex(START_SECONDS, 4)}${hex(i, 4)}2b022c0100${number}6e5a1004` };
}

/** An event as a server with `showExpandedEvents` sends it. */
function event(i: number, operationType: string, fields: Document = {}, index = 0): Document {
  return {
    _id: token(i, index),
    operationType,
    clusterTime: new Timestamp({ t: START_SECONDS, i }),
    collectionUUID: UUID,
    wallTime: WALL,
    ns: { db: 'shop', coll: 'orders' },
    ...fields,
  };
}

function streamPlan(
  subscriptions: readonly Partial<SubscriptionPlan>[] = [{}],
  given: Partial<WorkerPlan> = {},
): WorkerPlan {
  const whole = plan(subscriptions, given);
  return { ...whole, source: { ...whole.source, changeStream: { expanded: true } } };
}

const V6 = { serverVersion: 600 };

test('an event of the stream gets our _id, and is otherwise what the server made it', () => {
  const lsid = { id: UUID };
  const inserted = event(2, 'insert', { fullDocument: { _id: 1, a: Long.fromInt(5) }, documentKey: { _id: 1 } });
  const updated = event(
    3,
    'update',
    {
      documentKey: { _id: 1 },
      updateDescription: { updatedFields: { a: 1 }, removedFields: [], disambiguatedPaths: {} },
      lsid,
      txnNumber: Long.fromInt(2),
    },
    200,
  );
  const [plain, expanded] = [
    run(streamPlan([{ format: 'bson' }]), [inserted, updated], V6),
    run(streamPlan([{ format: 'bson', expanded: true }]), [inserted, updated], V6),
  ].map((result) => messages(result).map(({ body }) => BSON.deserialize(body, { promoteLongs: false })));
  const ids = ['shop:1795327615.2.0', 'shop:1795327615.3.200'];
  assert.deepEqual(
    expanded,
    [inserted, updated].map((one, n) => ({ ...one, _id: ids[n] })),
  );
  const without: Document[] = [inserted, updated].map((one, n) => ({ ...one, _id: ids[n] }));
  for (const one of without) delete one['collectionUUID'];
  without[1]!['updateDescription'] = { updatedFields: { a: 1 }, removedFields: [] };
  assert.deepEqual(plain, without);
  assert.deepEqual(plain?.map(Object.keys), without.map(Object.keys));
});

test('lane, _id, type, key and time are those of the same change read from the oplog', () => {
  const given = { partitions: 16, partitionBy: [{ namespaces: ['shop.*'], key: 'document' as const }] };
  const documents = Array.from({ length: 50 }, (_, n) => ({ _id: n % 2 === 0 ? n : `key-${n}`, n }));
  const changes = documents.map((o, n) => event(n + 1, 'insert', { fullDocument: o, documentKey: { _id: o._id } }));
  const fromStream = run(streamPlan([{}], given), changes, V6);
  const entries = documents.map((o, n) => insert(n + 1, o));
  const fromOplog = run(plan([{}], given), entries);
  const about = (result: typeof fromOplog) =>
    messages(result).map((one) => [
      one.lane,
      one.key,
      one.type,
      one.first,
      one.last,
      one.wallSeconds,
      json(one)['_id'],
    ]);
  assert.deepEqual(about(fromStream), about(fromOplog));
  assert.ok(new Set(messages(fromStream).map(({ lane }) => lane)).size > 5);
  assert.deepEqual(
    jsonEvents(fromStream).map((one) => one['fullDocument']),
    jsonEvents(fromOplog).map((one) => one['fullDocument']),
  );
});

test('what an earlier life had confirmed of a transaction does not come again', () => {
  const changes = [0, 1, 2, 300].map((n) =>
    event(5, 'insert', { fullDocument: { _id: n }, documentKey: { _id: n } }, n),
  );
  const floors = Uint32Array.of(START_SECONDS, 5, 1);
  const ids = jsonEvents(run(streamPlan(), changes, { ...V6, floors })).map((one) => one['_id']);
  assert.deepEqual(ids, ['shop:1795327615.5.2', 'shop:1795327615.5.300']);
});

test('operations and namespaces that nobody asked for are left out; an invalidate is nobody’s', () => {
  const result = run(
    streamPlan([{ operations: ['insert'] }]),
    [
      event(1, 'delete', { documentKey: { _id: 1 } }),
      event(2, 'insert', { ns: { db: 'other', coll: 'x' }, fullDocument: {}, documentKey: { _id: 1 } }),
      event(3, 'drop'),
      event(3, 'invalidate', { ns: undefined }),
    ],
    V6,
  );
  assert.deepEqual([messages(result).length, result.parked.length, result.filtered], [0, 0, 3]);
  assert.equal(result.last, undefined);
});

test('commands stand between gates, with what only expanded events show for those who asked', () => {
  const operations = ['create', 'drop', 'rename'] as const;
  const to = { db: 'shop', coll: 'orders2' };
  const events = [
    event(1, 'create', { operationDescription: { capped: true } }),
    event(2, 'rename', { to, operationDescription: { to } }),
    event(3, 'drop', { collectionUUID: undefined }),
  ];
  const bare = events.map(({ collectionUUID, ...rest }) =>
    collectionUUID === undefined ? rest : { ...rest, collectionUUID },
  );
  const delivered = (expanded: boolean): Document[] => {
    const result = run(streamPlan([{ operations, expanded }]), bare, V6);
    const found = messages({ ...result, records: withoutGates(result.records) });
    assert.equal(result.gates.length, found.length * 2);
    return found.map(json);
  };
  const kinds = (all: readonly Document[]) => all.map((one) => one['operationType']);
  // What lost its collection's UUID is a view, which only expanded events show; the rename has left orders2 with what nobody told of.
  assert.deepEqual(kinds(delivered(true)), ['create', 'rename', 'drop']);
  assert.deepEqual(kinds(delivered(false)), ['create', 'rename']);
  const [create, rename] = delivered(false);
  assert.deepEqual(create!['operationDescription'], { capped: true });
  assert.equal(create!['collectionUUID'], undefined);
  assert.equal(rename!['operationDescription'], undefined);
  assert.deepEqual(rename!['to'], to);
  assert.deepEqual(delivered(true)[1]!['operationDescription'], { to });
});

test('the same rename is a resync for whoever follows its target alone, as from the oplog', () => {
  const from = { ns: { db: 'shop', coll: 'tmp.agg_out.1' }, to: { db: 'shop', coll: 'orders' } };
  const subscriptions = [{ namespaces: ['shop.orders'] }];
  const stream = run(streamPlan(subscriptions), [event(1, 'rename', from)], V6);
  const o = { renameCollection: 'shop.tmp.agg_out.1', to: 'shop.orders' };
  const oplog = run(plan(subscriptions), [entry(1, { op: 'c', ns: 'shop.$cmd', o })], V6);
  const bodies = (result: typeof stream) => messages({ ...result, records: withoutGates(result.records) }).map(json);
  assert.equal(bodies(stream).length, 1);
  assert.deepEqual(bodies(stream), bodies(oplog));
});

test('what cannot be delivered is parked for those whose namespace it is', () => {
  const result = run(
    streamPlan([{}, { name: 'others', namespaces: ['other.*'] }]),
    [
      event(1, 'teleport'),
      event(2, 'replace', { documentKey: { _id: 1 }, 'tailrace.tooLarge': true }, 3),
      event(3, 'insert', { fullDocument: {} }),
      event(4, 'insert', { documentKey: { _id: 1 }, fullDocument: {}, _id: { _data: 'no token' } }),
    ],
    V6,
  );
  assert.deepEqual(
    result.parked.map(({ subscription, id, ns, reason }) => [
      subscription,
      id.replace(/damaged\..*/, 'damaged'),
      ns,
      reason,
    ]),
    [
      [0, 'shop:1795327615.1.0', 'shop.orders', 'unknown-op'],
      [0, 'shop:1795327615.2.3', 'shop.orders', 'too-large'],
      [0, 'shop:1795327615.3.0', 'shop.orders', 'undecodable'],
      [0, 'shop:damaged', 'shop.orders', 'undecodable'],
    ],
  );
  assert.deepEqual(result.unknownOps, { teleport: 1 });
});

test('events of one transaction whose tokens cannot be read are parked each by itself, and not as one of the others', () => {
  const events = [1, 2, 3].map((_id) =>
    event(7, 'insert', { documentKey: { _id }, fullDocument: { _id }, _id: { _data: 'no token' } }),
  );
  const tooLarge = event(7, 'replace', { documentKey: { _id: 0 }, 'tailrace.tooLarge': true }, 0);
  const ids = run(streamPlan(), [tooLarge, ...events], V6).parked.map(({ id }) => id);
  assert.equal(new Set(ids).size, 4, ids.join('\n'));
  // The same names after a restart, so that none is kept twice.
  assert.deepEqual(
    run(streamPlan(), [events[2]!], V6).parked.map(({ id }) => id),
    [ids[3]],
  );
});

test('a damaged event is parked and the rest delivered, wherever a byte is wrong', () => {
  const good = event(9, 'insert', { fullDocument: { _id: 2 }, documentKey: { _id: 2 } });
  const bytes = BSON.serialize(event(1, 'insert', { fullDocument: { _id: 1, s: 'x' }, documentKey: { _id: 1 } }));
  fc.assert(
    fc.property(fc.nat(bytes.length - 6), fc.integer({ min: 0, max: 255 }), (at, byte) => {
      const damaged = new Uint8Array(bytes);
      damaged[at + 4] = byte;
      const result = run(streamPlan(), batchOf([damaged, good]), V6);
      assert.equal(jsonEvents(result).at(-1)?.['_id'], 'shop:1795327615.9.0');
    }),
    { numRuns: 3_000 },
  );
});

function withoutGates(records: Uint32Array): Uint32Array {
  const fields = RECORD_FIELDS;
  const kept: number[] = [];
  for (let at = 0; at < records.length; at += fields) {
    if (records[at + 2] !== GATE) kept.push(...records.subarray(at, at + fields));
  }
  return Uint32Array.from(kept);
}
