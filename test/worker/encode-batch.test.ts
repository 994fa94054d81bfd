import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, EJSON, Long, ObjectId, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import { document } from './arbitraries.ts';
import { RECORD_FIELDS } from '../../src/worker/protocol.ts';
import {
  START_SECONDS,
  WALL,
  batchOf,
  entry,
  insert,
  json,
  jsonEvents,
  messages,
  plan,
  run,
  text,
} from './fixtures.ts';

const id = new ObjectId('6b02867ff153d8281a8c2fde');
const oid = { $oid: '6b02867ff153d8281a8c2fde' };
const shape = {
  clusterTime: { $timestamp: { t: START_SECONDS, i: 2 } },
  wallTime: { $date: '2026-11-22T06:06:55.756Z' },
  ns: { db: 'shop', coll: 'orders' },
  documentKey: { _id: oid },
};

function bodyOf(one: Document, wallTime = true): string {
  return text(messages(run(plan(), [one], { wallTime }))[0]!.body);
}

test("an insert is MongoDB's change event with an _id of ours, its fields in MongoDB's order", () => {
  assert.equal(
    bodyOf(insert(2, { _id: id, a: 1, b: { c: ['x', null] } })),
    JSON.stringify({
      _id: 'shop:1795327615.2.0',
      operationType: 'insert',
      clusterTime: shape.clusterTime,
      wallTime: shape.wallTime,
      fullDocument: { _id: oid, a: 1, b: { c: ['x', null] } },
      ns: shape.ns,
      documentKey: shape.documentKey,
    }),
  );
});

test('an update, a replace and a delete have the key that the entry names', () => {
  const key = { _id: id, region: 'eu' };
  const update = entry(2, { op: 'u', o: { $v: 2, diff: { u: { 'n.a': -1 } } }, o2: key });
  const replace = entry(2, { op: 'u', o: { _id: id, x: 1 }, o2: key });
  const remove = entry(2, { op: 'd', o: key });
  const common = { clusterTime: shape.clusterTime, wallTime: shape.wallTime };
  const tail = { ns: shape.ns, documentKey: { _id: oid, region: 'eu' } };
  assert.equal(
    bodyOf(update),
    JSON.stringify({
      _id: 'shop:1795327615.2.0',
      operationType: 'update',
      ...common,
      ...tail,
      updateDescription: { updatedFields: { 'n.a': -1 }, removedFields: [], truncatedArrays: [] },
    }),
  );
  assert.equal(
    bodyOf(replace),
    JSON.stringify({
      _id: 'shop:1795327615.2.0',
      operationType: 'replace',
      ...common,
      fullDocument: { _id: oid, x: 1 },
      ...tail,
    }),
  );
  assert.equal(
    bodyOf(remove),
    JSON.stringify({ _id: 'shop:1795327615.2.0', operationType: 'delete', ...common, ...tail }),
  );
});

test('an insert of a server without o2 has its _id as key, and one before 6.0 no wallTime', () => {
  const event: Document = JSON.parse(bodyOf(entry(2, { op: 'i', o: { x: 1, _id: id } }), false));
  assert.deepEqual(event['documentKey'], { _id: oid });
  assert.equal('wallTime' in event, false);
});

test('JSON and BSON of the same entry say the same, for every document', () => {
  const both = plan([{ format: 'json-canonical' }, { format: 'bson' }]);
  fc.assert(
    fc.property(document, (doc) => {
      const [asJson, asBson] = messages(run(both, [insert(1, { ...doc, _id: id })]));
      const decoded = BSON.deserialize(asBson!.body, { promoteValues: false, bsonRegExp: true });
      assert.deepEqual(normal(text(asJson!.body)), normal(EJSON.stringify(decoded, { relaxed: false })));
    }),
    { numRuns: 500 },
  );
});

function normal(written: string): unknown {
  return JSON.parse(written, (name, value: unknown) => (name === '$numberDouble' ? String(Number(value)) : value));
}

test('a namespace is wanted when a pattern matches and none with "!" does, wherever that stands', () => {
  const namespaces = ['!shop.order_tmp*', 'shop.orders', 'shop.order_*', 'a*.x'];
  const all = [
    'shop.orders',
    'shop.order_1',
    'shop.order_tmp1',
    'shop.orders2',
    'other.orders',
    'a.b.x',
    'ab.x',
    'shop.order_',
  ];
  const seen = run(
    plan([{ namespaces, routingKey: '{db}.{coll}' }]),
    all.map((ns, k) => insert(k + 1, { _id: k }, ns)),
  );
  assert.deepEqual(seen.routingKeys, ['shop.orders', 'shop.order_1', 'a.b.x', 'ab.x', 'shop.order_']);
  assert.equal(seen.filtered, 3);
  assert.equal(seen.entries, 8);
});

test('a million namespaces are judged right, though only some verdicts are kept', () => {
  const of = plan([{ namespaces: ['d.c*7'] }]);
  for (let from = 0; from < 12_000; from += 3000) {
    const entries = Array.from({ length: 3000 }, (_, k) => insert(k + 1, { _id: k }, `d.c${from + k}`));
    const result = run(of, entries);
    assert.equal(result.records.length / RECORD_FIELDS, 300);
    assert.deepEqual(result.routingKeys.slice(0, 2), [`d.c${from + 7}.insert`, `d.c${from + 17}.insert`]);
  }
});

test('only the operations that were asked for arrive', () => {
  const result = run(plan([{ operations: ['delete', 'replace'] }]), [
    insert(1, { _id: 1 }),
    entry(2, { op: 'u', o: { $v: 2, diff: { u: { a: 1 } } }, o2: { _id: 1 } }),
    entry(3, { op: 'u', o: { _id: 1, a: 2 }, o2: { _id: 1 } }),
    entry(4, { op: 'd', o: { _id: 1 } }),
    entry(5, { op: 'n', ns: '', o: { msg: 'periodic noop' } }),
  ]);
  assert.deepEqual(
    messages(result).map(({ type }) => type),
    ['replace', 'delete'],
  );
  assert.equal(result.filtered, 2);
});

test('what change streams hide is hidden, even from a pattern for everything', () => {
  const hidden = [
    'config.transactions',
    'local.x',
    'admin.users',
    'shop.system.views',
    'shop.system.buckets.t',
    'config.$cmd',
  ];
  const entries = [
    ...hidden.map((ns, k) => insert(k + 1, { _id: k }, ns)),
    entry(20, { op: 'i', o: { _id: 1 }, fromMigrate: true }),
    insert(22, { _id: 1 }, 'shop.tmp.agg_out.1'),
    entry(23, { op: 'i', o: { _id: 1 }, fromMigrate: false }),
  ];
  const result = run(plan([{ namespaces: ['*'] }]), entries);
  assert.deepEqual(
    jsonEvents(result).map((event) => event['clusterTime'].$timestamp.i),
    [22, 23],
  );
  assert.deepEqual(result.parked, []);
});

test('what is written to a collection while it is resharded is shown, and what resharding itself writes is not', () => {
  const entries = [
    // The donor tells the later owner of a user's write; the copy of it goes into a collection of the server's own.
    entry(1, { op: 'i', o: { _id: 1 }, destinedRecipient: 'shard1' }),
    entry(2, { op: 'd', o: { _id: 1 }, destinedRecipient: 'shard1' }),
    insert(3, { _id: 1 }, 'shop.system.resharding.3f2504e0-4f89-41d3-9a0c-0305e82c3301'),
  ];
  const result = run(plan([{ namespaces: ['*'] }]), entries);
  assert.deepEqual(
    jsonEvents(result).map((event) => event['operationType']),
    ['insert', 'delete'],
  );
});

test('records are grouped by lane, and within a lane in oplog order', () => {
  const entries = Array.from({ length: 500 }, (_, k) => insert(k + 1, { _id: k }));
  const of = plan([{ name: 'a' }, { name: 'b', operations: ['insert'] }], {
    partitions: 8,
    partitionBy: [{ namespaces: ['shop.orders'], key: 'document' }],
  });
  const seen = messages(run(of, entries));
  assert.equal(seen.length, 1000);
  assert.equal(new Set(seen.map(({ lane }) => lane)).size, 16);
  for (let k = 1; k < seen.length; k++) {
    const [a, b] = [seen[k - 1]!, seen[k]!];
    assert.ok(a.lane < b.lane || (a.lane === b.lane && a.first[1] < b.first[1]));
  }
  // The same document has the same partition in both subscriptions, and the same bytes.
  const [ofA, ofB] = [seen.filter(({ lane }) => lane < 8), seen.filter(({ lane }) => lane >= 8)];
  for (const [k, message] of ofA.entries()) {
    assert.equal(message.lane + 8, ofB[k]!.lane);
    assert.deepEqual(message.body, ofB[k]!.body);
  }
});

test('events of one _id share a partition whatever they are; a collated collection keeps to its namespace', () => {
  const of = plan([{}], { partitions: 64, partitionBy: [{ namespaces: ['*'], key: 'document' }] });
  const entries = [1, 2, 3, 4, 5].flatMap((n) => [
    insert(n * 10, { x: 1, _id: n }),
    entry(n * 10 + 1, { op: 'u', o: { $v: 2, diff: { u: { x: 2 } } }, o2: { region: 'eu', _id: n } }),
    entry(n * 10 + 2, { op: 'u', o: { _id: n, x: 3 }, o2: { _id: n } }),
    entry(n * 10 + 3, { op: 'd', o: { region: 'eu', _id: Long.fromNumber(n) } }),
  ]);
  const lanes = new Map<number, Set<number>>();
  for (const { lane, first } of messages(run(of, entries))) {
    const n = Math.floor(first[1] / 10);
    lanes.set(n, (lanes.get(n) ?? new Set()).add(lane));
  }
  assert.deepEqual(
    [...lanes.values()].map(({ size }) => size),
    [1, 1, 1, 1, 1],
  );
  assert.ok(new Set([...lanes.values()].map((set) => [...set][0])).size > 1);
  const collated = messages(run(of, entries, { collated: ['shop.orders'] }));
  assert.equal(new Set(collated.map(({ lane }) => lane)).size, 1);
  assert.ok(new Set(messages(run(of, entries)).map(({ lane }) => lane)).size > 1);
});

test('consecutive events of one lane and key are joined up to both limits, one JSON line each', () => {
  const entries = Array.from({ length: 10 }, (_, k) =>
    insert(k + 1, { _id: k, text: 'x'.repeat(k === 6 ? 5000 : 10) }),
  );
  const of = plan([{ maxEvents: 4, maxBytes: 2000, routingKey: '{db}.{coll}' }]);
  const seen = messages(run(of, entries));
  assert.deepEqual(
    seen.map(({ events, first, last, type }) => [events, first[1], last[1], type]),
    [
      [4, 1, 4, 'batch'],
      [2, 5, 6, 'batch'],
      [1, 7, 7, 'batch'], // Larger than maxBytes: alone.
      [3, 8, 10, 'batch'],
    ],
  );
  for (const { body, events } of seen) {
    const lines = text(body).split('\n');
    assert.equal(lines.pop(), '');
    assert.equal(lines.length, events);
  }
  assert.deepEqual(
    jsonEvents(run(of, entries)).map((event) => event['fullDocument']._id),
    entries.map((_, k) => k),
  );
});

test('events with different keys are not joined, nor over what lies between them', () => {
  const entries = ['a', 'a', 'b', 'a'].map((a, k) => insert(k + 1, { _id: k, a }));
  const seen = messages(run(plan([{ maxEvents: 100, routingKey: '{fullDocument.a}' }]), entries));
  assert.deepEqual(
    seen.map(({ key, events }) => [key, events]),
    [
      ['a', 2],
      ['b', 1],
      ['a', 1],
    ],
  );
});

test('BSON events are joined back to back', () => {
  const entries = [1, 2, 3].map((n) => insert(n, { _id: n }));
  const [message, ...more] = messages(run(plan([{ maxEvents: 10, format: 'bson' }]), entries));
  assert.deepEqual(more, []);
  const ids: unknown[] = [];
  for (let at = 0; at < message!.body.length;) {
    const size = new DataView(message!.body.buffer, message!.body.byteOffset + at).getInt32(0, true);
    const event = BSON.deserialize(message!.body.subarray(at, at + size));
    ids.push(event['_id']);
    at += size;
  }
  assert.deepEqual(ids, ['shop:1795327615.1.0', 'shop:1795327615.2.0', 'shop:1795327615.3.0']);
});

test('an event behind a parked one joins nothing that stands before a gate or a commit', () => {
  const session = { lsid: { id: new UUID() }, txnNumber: Long.fromNumber(5) };
  const previous = { prevOpTime: { ts: new Timestamp({ t: START_SECONDS, i: 1 }), t: Long.fromNumber(3) } };
  const between: Document[] = [
    entry(2, { op: 'c', ns: 'shop.$cmd', o: { drop: 'orders' } }),
    entry(2, { op: 'c', ns: 'admin.$cmd', o: { commitTransaction: 1 }, ...session, ...previous }),
  ];
  const large = insert(3, { _id: 3, text: 'x'.repeat(2000) });
  for (const [k, one] of between.entries()) {
    const of = plan([{ operations: ['insert', 'drop'], maxEvents: 10, maxMessageBytes: 1000, routingKey: 'all' }]);
    const result = run(of, [insert(1, { _id: 1 }), one, large, insert(4, { _id: 4 })]);
    assert.equal(result.parked.length, 1);
    const seen = messages(result).filter(({ type }) => type === 'batch');
    assert.deepEqual(
      seen.map(({ first, last, events }) => [first[1], last[1], events]),
      k === 0 ? [1, 2, 4].map((i) => [i, i, 1]) : [1, 4].map((i) => [i, i, 1]),
    );
  }
});

test('an event over the limit is parked with its entry, and its neighbours go on', () => {
  const entries = [insert(1, { _id: 1 }), insert(2, { _id: 2, x: 'y'.repeat(2000) }), insert(3, { _id: 3 })];
  const result = run(plan([{ maxMessageBytes: 1000 }, {}]), entries);
  assert.deepEqual(
    result.parked.map((parked) => ({ ...parked, entry: BSON.deserialize(parked.entry)['o']._id, detail: '' })),
    [
      {
        subscription: 0,
        id: 'shop:1795327615.2.0',
        ns: 'shop.orders',
        reason: 'too-large',
        detail: '',
        partition: 0,
        entry: 2,
      },
    ],
  );
  assert.deepEqual([...result.events], [2, 3]);
  assert.equal(messages(result).length, 5);
});

test('an event that only its line feed makes too large is not taken from where it was written', () => {
  const entries = [insert(1, { _id: 1, x: 'first' }), insert(2, { _id: 2, x: 'other' })];
  const { length } = messages(run(plan([{}]), entries))[0]!.body;
  const result = run(plan([{ maxEvents: 10, maxMessageBytes: length }, {}]), entries);
  assert.deepEqual(
    messages(result)
      .filter(({ lane }) => lane >= 1)
      .map(({ body }) => (JSON.parse(Buffer.from(body).toString()) as { fullDocument: { x: string } }).fullDocument.x),
    ['first', 'other'],
  );
});

test('operations at or below their lane’s floor are dropped, others are not', () => {
  const operations = [1, 2, 3].map((n) => ({ op: 'i', ns: 'shop.orders', o: { _id: n }, o2: { _id: n } }));
  const entries = [
    insert(1, { _id: 0 }),
    entry(2, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations } }),
    insert(3, { _id: 9 }),
  ];
  const floors = new Uint32Array([START_SECONDS, 2, 1, 0, 0, 0]);
  const of = plan([{}, {}]);
  const seen = messages(run(of, entries, { floors }));
  assert.deepEqual(
    seen.map(({ lane, first }) => [lane, first[1], first[2]]),
    [
      [0, 2, 2],
      [0, 3, 0],
      [1, 1, 0],
      [1, 2, 0],
      [1, 2, 1],
      [1, 2, 2],
      [1, 3, 0],
    ],
  );
});

test('a range takes only its entries, and names the last of them', () => {
  const entries = [1, 2, 3, 4].map((n) => insert(n, { _id: n }));
  const result = run(plan(), entries, { range: { from: 1, to: 3 } });
  assert.deepEqual(
    jsonEvents(result).map((event) => event['_id']),
    ['shop:1795327615.2.0', 'shop:1795327615.3.0'],
  );
  assert.equal(result.entries, 2);
  assert.deepEqual(result.last, { ts: { seconds: START_SECONDS, increment: 3 }, t: 3 });
});

test('the last position and wall clock come from the last entry, wanted or not', () => {
  const result = run(plan(), [insert(1, { _id: 1 }), entry(7, { op: 'n', ns: '', o: {}, t: Long.fromNumber(-1) })]);
  assert.deepEqual(result.last, { ts: { seconds: START_SECONDS, increment: 7 }, t: -1 });
  assert.equal(result.lastWallMs, WALL.getTime());
  const empty = run(plan(), []);
  assert.equal(empty.last, undefined);
  assert.equal(empty.lastWallMs, 0);
  assert.equal(empty.records.length + empty.bodies.length, 0);
});

test('positions beyond 2038 stay positive', () => {
  const result = run(
    plan(),
    [insert(1, { _id: 1 })].map((one) => ({ ...one, ts: new Timestamp({ t: 0xffff_fff0, i: 0xffff_ffff }) })),
  );
  assert.equal(json(messages(result)[0]!)['_id'], 'shop:4294967280.4294967295.0');
  assert.deepEqual(messages(result)[0]!.last, [4_294_967_280, 4_294_967_295, 0]);
});

test('routing keys, buffers and results of one batch are not those of the next', () => {
  const of = plan([{ routingKey: '{coll}' }]);
  const first = run(of, [insert(1, { _id: 1 }, 'shop.a'), insert(2, { _id: 1 }, 'shop.b')]);
  const second = run(of, [insert(3, { _id: 1 }, 'shop.b')]);
  assert.deepEqual(first.routingKeys, ['a', 'b']);
  assert.deepEqual(
    messages(second).map(({ key }) => key),
    ['b'],
  );
  assert.deepEqual(
    jsonEvents(first).map((event) => event['ns'].coll),
    ['a', 'b'],
  );
  assert.notEqual(first.bodies.buffer, second.bodies.buffer);
});

test('a batch larger than any before is written whole', () => {
  const entries = Array.from({ length: 40 }, (_, k) => insert(k + 1, { _id: k, x: '\u0001'.repeat(100_000 + k) }));
  const events = jsonEvents(run(plan([{}, {}]), entries));
  assert.equal(events.length, 80);
  for (const event of events) assert.equal(event['fullDocument'].x.length, 100_000 + event['fullDocument']._id);
});

test('the order of an entry’s fields does not matter, and unknown fields are passed over', () => {
  const { wall, ts, t, ...rest } = insert(1, { _id: 1 });
  const shuffled = { wall, newThing: { a: [1] }, stmtId: [0, 1], ts, t, b: true, ...rest };
  assert.equal(bodyOf(shuffled), bodyOf(insert(1, { _id: 1 })));
});

test('what is no list of entries is refused whole', () => {
  const good = batchOf([insert(1, { _id: 1 })]);
  assert.throws(() => run(plan(), good.subarray(0, good.length - 3)));
  assert.throws(() => run(plan(), new Uint8Array(0)));
  assert.throws(() => run(plan(), BSON.serialize({ 0: 1 })));
});

test('what was made lies in the room that came along, unless it is too little for it or too much', () => {
  const entries = Array.from({ length: 400 }, (_, n) => insert(n + 1, { _id: n, text: 'x'.repeat(200) }));
  const free = run(plan(), entries);
  const { length } = free.bodies;
  const lengths: [number, boolean][] = [
    [length - 1, false],
    [length, true],
    [length * 4, true],
    [length * 4 + 1, false],
  ];
  for (const [bytes, used] of lengths) {
    const room = new ArrayBuffer(bytes);
    const { bodies } = run(plan(), entries, { room });
    assert.deepEqual(bodies, free.bodies);
    assert.equal(bodies.buffer === room, used, `${bytes} bytes of room for ${length}`);
    if (!used) assert.equal(bodies.buffer.byteLength, length);
  }
  const nothing = run(plan([{ namespaces: ['other.*'] }]), entries, { room: new ArrayBuffer(length) });
  assert.equal(nothing.bodies.buffer.byteLength, 0);
});
