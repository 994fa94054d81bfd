import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Binary, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { hashNamespace, toPartition } from '../../src/worker/partition.ts';
import { Field, GATE, MESSAGE_TYPES, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import { DDL_OPERATIONS } from '../../src/config/operations.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { START_SECONDS, WALL, entry, insert, json, jsonEvents, messages, plan, run } from './fixtures.ts';

const PARTITIONS = 4;
const ui = new UUID('3f2504e0-4f89-41d3-9a0c-0305e82c3301');
function command(i: number, o: Document, { ns = 'shop.$cmd', ...more }: Document = {}): Document {
  return entry(i, { op: 'c', ns, ui, o, ...more });
}

function home(ns: string): number {
  return toPartition(hashNamespace(new TextEncoder().encode(ns)), PARTITIONS);
}

/** Lane by lane what stands in it: an event's type, or a gate with its number and a star where the lane counts. */
function lanesOf({ records }: BatchResult): Record<number, string[]> {
  const lanes: Record<number, string[]> = {};
  for (let at = 0; at < records.length; at += RECORD_FIELDS) {
    const type = records[at + Field.type]!;
    const what =
      type === GATE
        ? `gate ${records[at + Field.offset]}${records[at + Field.events] === 1 ? '*' : ''}`
        : MESSAGE_TYPES[type]!;
    (lanes[records[at + Field.lane]!] ??= []).push(what);
  }
  return lanes;
}

const byDocument = { partitions: PARTITIONS, partitionBy: [{ namespaces: ['shop.*'], key: 'document' as const }] };
const byNamespace = { partitions: PARTITIONS };

test('a command goes to those who named its operation and follow its collection, whatever else they get', () => {
  const entries = [
    command(1, { create: 'orders', idIndex: {} }),
    command(2, { drop: 'orders' }),
    command(3, { dropDatabase: 1 }),
    command(4, { renameCollection: 'shop.orders', to: 'shop.old' }, { ns: 'admin.$cmd' }),
    command(5, { collMod: 'orders' }),
    command(6, { createIndexes: 'orders', v: 2 }),
    command(7, { startIndexBuild: 'orders' }),
    command(8, { commitIndexBuild: 'orders', indexes: [] }),
    command(9, { dropIndexes: 'orders' }),
    command(10, { abortIndexBuild: 'orders' }),
    command(11, { create: 'orders' }, { ns: 'other.$cmd' }),
    entry(12, { op: 'n', ns: 'shop.orders', o: {}, o2: { shardCollection: 'shop.orders', shardKey: { k: 1 } } }),
    entry(13, { op: 'n', ns: 'shop.orders', o: {}, o2: { reshardCollection: 'shop.orders', numInitialChunks: 3 } }),
    entry(14, { op: 'n', ns: 'shop.orders', o: {}, o2: { refineCollectionShardKey: 'shop.orders' } }),
    entry(15, { op: 'n', ns: 'shop.orders', o: {}, o2: { migrateChunkToNewShard: 'shop.orders' } }),
  ];
  const result = run(plan([{ operations: DDL_OPERATIONS }, { operations: ['drop'], namespaces: ['*'] }, {}]), entries);
  assert.deepEqual(result.parked, []);
  assert.deepEqual(
    messages(result)
      .filter(({ type, lane }) => type !== undefined && lane === 0)
      .map(({ type, key }) => [type, key]),
    [
      ['create', 'shop.orders.create'],
      ['drop', 'shop.orders.drop'],
      ['dropDatabase', 'shop..dropDatabase'],
      ['rename', 'shop.orders.rename'],
      ['modify', 'shop.orders.modify'],
      ['createIndexes', 'shop.orders.createIndexes'],
      ['createIndexes', 'shop.orders.createIndexes'],
      ['dropIndexes', 'shop.orders.dropIndexes'],
      ['shardCollection', 'shop.orders.shardCollection'],
      ['reshardCollection', 'shop.orders.reshardCollection'],
      ['refineCollectionShardKey', 'shop.orders.refineCollectionShardKey'],
    ],
  );
  assert.deepEqual(
    messages(result)
      .filter(({ type, lane }) => type !== undefined && lane > 0)
      .map(({ type, lane }) => [type, lane]),
    [['drop', 1]],
  );
});

test('a sharding event describes what the no-op entry says, but for the name', () => {
  const o2 = { shardCollection: 'shop.orders', shardKey: { k: 1 }, unique: false };
  const entries = [entry(1, { op: 'n', ns: 'shop.orders', ui, o: { msg: 'sharded' }, o2 })];
  const [event] = jsonEvents(run(plan([{ operations: ['shardCollection'], expanded: true }]), entries));
  assert.deepEqual(event, {
    _id: `shop:${START_SECONDS}.1.0`,
    operationType: 'shardCollection',
    clusterTime: { $timestamp: { t: START_SECONDS, i: 1 } },
    collectionUUID: { $binary: { base64: new Binary(ui.buffer, 4).toString('base64'), subType: '04' } },
    wallTime: { $date: WALL.toISOString() },
    ns: { db: 'shop', coll: 'orders' },
    operationDescription: { shardKey: { k: 1 }, unique: false },
  });
});

test('of a collection by namespace a command stands between two gates of its own lane alone', () => {
  const entries = [insert(1, { _id: 1 }), command(2, { drop: 'orders' }), insert(3, { _id: 2 })];
  const result = run(plan([{ operations: ['insert', 'drop'] }], byNamespace), entries);
  assert.deepEqual(lanesOf(result), { [home('shop.orders')]: ['insert', 'gate 0*', 'drop', 'gate 1*', 'insert'] });
  assert.deepEqual(result.gates, [1, 1]);
});

test('of a collection spread by document it waits for all lanes, and they for it', () => {
  const entries = [command(2, { drop: 'orders' })];
  const result = run(plan([{ operations: ['insert', 'drop'] }], byDocument), entries);
  const expected = Object.fromEntries([0, 1, 2, 3].map((lane) => [lane, ['gate 0*', 'gate 1']]));
  expected[home('shop.orders')] = ['gate 0*', 'drop', 'gate 1*'];
  assert.deepEqual(lanesOf(result), expected);
  assert.deepEqual(result.gates, [PARTITIONS, 1]);
});

test('a rename concerns the lanes of both names that are followed, and goes with the source', () => {
  const names = ['shop.a', 'shop.b', 'shop.c', 'shop.d', 'shop.e', 'shop.f'];
  const to = names.find((name) => home(name) !== home('shop.a'))!;
  const entries = [command(1, { renameCollection: 'shop.a', to })];
  const lanes = lanesOf(run(plan([{ operations: ['rename'] }], byNamespace), entries));
  assert.deepEqual(lanes[home('shop.a')], ['gate 0*', 'rename', 'gate 1*']);
  assert.deepEqual(lanes[home(to)], ['gate 0*', 'gate 1']);
  assert.equal(Object.keys(lanes).length, 2);
});

test('dropDatabase drains every lane, and goes to the one of the name of the database', () => {
  const result = run(plan([{ operations: ['dropDatabase'], namespaces: ['shop.orders'] }], byNamespace), [
    command(1, { dropDatabase: 1 }),
    command(2, { dropDatabase: 1 }, { ns: 'other.$cmd' }),
  ]);
  const expected = Object.fromEntries([0, 1, 2, 3].map((lane) => [lane, ['gate 0*', 'gate 1']]));
  expected[home('shop')] = ['gate 0*', 'dropDatabase', 'gate 1*'];
  assert.deepEqual(lanesOf(result), expected);
  const [event] = jsonEvents(result);
  assert.deepEqual(event!['ns'], { db: 'shop' });
});

test('a command that its home lane has confirmed leaves nothing, no gate either', () => {
  const floors = (increment: number): Uint32Array => {
    const table = new Uint32Array(PARTITIONS * 3);
    table.set([START_SECONDS, increment, 0], home('shop.orders') * 3);
    return table;
  };
  const of = plan([{ operations: ['drop'] }], byDocument);
  assert.deepEqual(lanesOf(run(of, [command(2, { drop: 'orders' })], { floors: floors(2) })), {});
  assert.equal(
    Object.keys(lanesOf(run(of, [command(2, { drop: 'orders' })], { floors: floors(1) }))).length,
    PARTITIONS,
  );
});

test('commands inside a transaction count among its operations, and carry its session', () => {
  const operations = [
    { op: 'c', ns: 'shop.$cmd', ui, o: { create: 'fresh', idIndex: {} } },
    { op: 'c', ns: 'shop.$cmd', ui, fromMigrate: true, o: { create: 'moved' } },
    { op: 'i', ns: 'shop.fresh', ui, o: { _id: 1 }, o2: { _id: 1 } },
    { op: 'c', ns: 'shop.$cmd', ui, o: { createIndexes: 'fresh', v: 2, key: { a: 1 }, name: 'a_1' } },
  ];
  const session = { lsid: { id: ui }, txnNumber: Long.fromNumber(5) };
  const none = { prevOpTime: { ts: new Timestamp({ t: 0, i: 0 }), t: Long.fromNumber(-1) } };
  const transaction = entry(4, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations }, ...session, ...none });
  const events = jsonEvents(run(plan([{ operations: ['insert', 'create', 'createIndexes'] }]), [transaction]));
  assert.deepEqual(
    events.map((event) => [event['_id'], event['operationType'], Object.keys(event).slice(0, 4).join()]),
    [
      [`shop:${START_SECONDS}.4.0`, 'create', '_id,txnNumber,lsid,operationType'],
      [`shop:${START_SECONDS}.4.2`, 'insert', '_id,txnNumber,lsid,operationType'],
      [`shop:${START_SECONDS}.4.3`, 'createIndexes', '_id,txnNumber,lsid,operationType'],
    ],
  );
});

test('what change streams hide stays hidden', () => {
  const entries = [
    command(1, { create: 'orders' }, { fromMigrate: true }),
    command(2, { create: 'system.views' }),
    command(3, { drop: 'system.buckets.measured' }),
    command(4, { create: 'system.resharding.0' }, { destinedRecipient: 'b' }),
    command(5, { dropDatabase: 1 }, { ns: 'config.$cmd' }),
    command(6, { create: 'x' }, { ns: 'local.$cmd' }),
    command(7, { create: 'x' }, { ns: 'admin.$cmd' }),
    command(8, { renameCollection: 'shop.system.a', to: 'shop.system.b' }),
    command(9, { renameCollection: 'shop.tmp', to: 'shop.orders' }, { fromMigrate: true }),
    entry(10, { op: 'n', ns: 'shop.orders', o: {}, o2: { shardCollection: 'shop.orders' }, fromMigrate: true }),
  ];
  const result = run(plan([{ operations: DDL_OPERATIONS, namespaces: ['*'], expanded: true }]), entries);
  assert.deepEqual(jsonEvents(result), []);
  assert.deepEqual(result.parked, []);
});

test('views show with expanded alone', () => {
  const view = { _id: 'shop.big', viewOn: 'orders', pipeline: [] };
  const entries = [
    entry(1, { op: 'i', ns: 'shop.system.views', ui, o: view, o2: { _id: 'shop.big' } }),
    entry(2, { op: 'u', ns: 'shop.system.views', ui, o: view, o2: { _id: 'shop.big' } }),
    entry(3, { op: 'd', ns: 'shop.system.views', ui, o: { _id: 'shop.big' } }),
  ];
  const events = jsonEvents(run(plan([{ operations: DDL_OPERATIONS, expanded: true }]), entries));
  assert.deepEqual(
    events.map(({ operationType, ns, operationDescription, collectionUUID }) => [
      operationType,
      ns.coll,
      operationDescription,
      collectionUUID,
    ]),
    [
      ['create', 'big', { viewOn: 'orders', pipeline: [] }, undefined],
      ['modify', 'big', { viewOn: 'orders', pipeline: [] }, undefined],
      ['drop', 'big', undefined, undefined],
    ],
  );
  assert.deepEqual(jsonEvents(run(plan([{ operations: DDL_OPERATIONS }]), entries)), []);
});

test('create events of servers from 8.1 on say what was created', () => {
  const entries = [
    command(1, { create: 'orders' }),
    entry(2, { op: 'i', ns: 'shop.system.views', o: { _id: 'shop.v', viewOn: 'orders' }, o2: { _id: 'shop.v' } }),
    entry(3, {
      op: 'i',
      ns: 'shop.system.views',
      o: { _id: 'shop.m', viewOn: 'system.buckets.m' },
      o2: { _id: 'shop.m' },
    }),
  ];
  const of = plan([{ operations: ['create'], expanded: true }]);
  const types = (serverVersion: number): unknown[] =>
    jsonEvents(run(of, entries, { serverVersion })).map((event) => event['nsType']);
  assert.deepEqual(types(801), ['collection', 'view', 'timeseries']);
  assert.deepEqual(types(800), [undefined, undefined, undefined]);
});

test('who follows the target of a rename and not its source is told to read the collection anew, unasked', () => {
  const out = 'shop.tmp.agg_out.ffd869cd-a96d-4052-836b-ce76b2d6e94c';
  const entries = [command(7, { renameCollection: out, to: 'shop.orders', stayTemp: false, dropTarget: ui })];
  const subscriptions = [{ namespaces: ['shop.orders'] }, { namespaces: ['shop.other'] }];
  const result = run(plan(subscriptions, byDocument), entries);
  const [event] = jsonEvents(result);
  assert.deepEqual(event, {
    _id: `shop:${START_SECONDS}.7.1`,
    operationType: 'resync',
    clusterTime: { $timestamp: { t: START_SECONDS, i: 7 } },
    wallTime: { $date: WALL.toISOString() },
    ns: { db: 'shop', coll: 'orders' },
    cause: 'out',
    reason: event!['reason'],
  });
  assert.match(event['reason'], /^All of shop\.orders was replaced: .*\$out.* read it anew\.$/);
  assert.equal(messages(result).filter(({ type }) => type === 'resync').length, 1);
  assert.equal(lanesOf(result)[home('shop.orders')]!.join(), 'gate 0*,resync,gate 1*');
  assert.deepEqual(result.gates, [PARTITIONS, 1]);
});

test('a rename that was asked for comes before the resync, and keeps the number 0', () => {
  const entries = [command(7, { renameCollection: 'shop.fresh', to: 'shop.orders' })];
  const events = jsonEvents(run(plan([{ namespaces: ['shop.orders'], operations: ['rename'] }]), entries));
  assert.deepEqual(
    events.map(({ _id, operationType, cause }) => [_id, operationType, cause]),
    [
      [`shop:${START_SECONDS}.7.0`, 'rename', undefined],
      [`shop:${START_SECONDS}.7.1`, 'resync', 'rename'],
    ],
  );
});

test('a rename between two names that are followed needs no resync, unless the server filled the source', () => {
  const of = plan([{ namespaces: ['shop.*'] }]);
  const renamed = (source: string): Document[] =>
    jsonEvents(run(of, [command(7, { renameCollection: `shop.${source}`, to: 'shop.orders' })]));
  assert.deepEqual(renamed('fresh'), []);
  assert.deepEqual(
    ['tmp.agg_out.0', 'tmpAb1cD.convertToCapped.orders', 'tmpAb1cD.renameCollection'].map(
      (source) => renamed(source)[0]?.['cause'],
    ),
    ['out', 'convertToCapped', 'renameAcrossDatabases'],
  );
});

test('a command this version has never heard of is parked for those who follow its collection', () => {
  const result = run(plan([{}, { namespaces: ['other.*'] }]), [command(1, { defragment: 'orders' })]);
  assert.deepEqual(
    result.parked.map(({ subscription, reason, ns }) => [subscription, reason, ns]),
    [[0, 'unknown-op', 'shop.orders']],
  );
  assert.deepEqual(result.unknownOps, { 'c:defragment': 1 });
});

test('a damaged command is parked as a whole, and leaves neither event nor gate', () => {
  for (const o of [{ drop: 5 }, { renameCollection: 'shop.orders' }, { renameCollection: 'shop.a', to: 3 }]) {
    const result = run(plan([{ operations: DDL_OPERATIONS, namespaces: ['*'] }]), [command(1, o)]);
    assert.deepEqual(
      result.parked.map(({ reason }) => reason),
      ['undecodable'],
      JSON.stringify(o),
    );
    assert.equal(result.records.length, 0);
    assert.deepEqual(result.gates, []);
  }
});

test('a subscription for several events a message gets a command alone, as a line', () => {
  const entries = [insert(1, { _id: 1 }), insert(2, { _id: 2 }), command(3, { drop: 'orders' }), insert(4, { _id: 3 })];
  const result = run(plan([{ operations: ['insert', 'drop'], maxEvents: 10, routingKey: '{db}' }]), entries);
  assert.deepEqual(
    messages(result).flatMap(({ type, events }) => (type === undefined ? [] : [[type, events]])),
    [
      ['batch', 2],
      ['batch', 1],
      ['batch', 1],
    ],
  );
  const drop = messages(result).filter(({ type }) => type === 'batch')[1]!;
  assert.equal(json(drop)['operationType'], 'drop');
});
