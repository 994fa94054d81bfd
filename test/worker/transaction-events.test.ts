import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, UUID } from 'bson';
import type { Document } from 'bson';
import { Floors } from '../../src/lanes/floors.ts';
import { START_SECONDS, entry, json, jsonEvents, messages, plan, run } from './fixtures.ts';

const session = { lsid: { id: new UUID(), uid: Buffer.alloc(32) }, txnNumber: Long.fromNumber(5) };

function transaction(operations: readonly Document[]): Document {
  return entry(9, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations }, ...session });
}

function insert(id: number, ns = 'shop.orders'): Document {
  return { op: 'i', ns, ui: new UUID(), o: { _id: id }, o2: { _id: id } };
}

const told = plan([{ transactions: true }], { partitions: 64 });

test('a transaction begins and ends in each lane that carries any of it, with what the subscription was given', () => {
  const operations = [insert(0), insert(1, 'shop.lines'), insert(2), insert(3, 'other.x')];
  const lanes = grouped(operations);
  assert.equal(lanes.size, 2);
  const end = {
    operations: 3,
    namespaces: [
      { db: 'shop', coll: 'orders', operations: 2 },
      { db: 'shop', coll: 'lines', operations: 1 },
    ],
  };
  for (const events of lanes.values()) {
    const first = events[0]!;
    const last = events.at(-1)!;
    assert.deepEqual([first['_id'], first['operationType']], [`shop:${START_SECONDS}.9.begin`, 'transactionBegin']);
    assert.deepEqual([last['_id'], last['operationType']], [`shop:${START_SECONDS}.9.end`, 'transactionEnd']);
    assert.deepEqual({ operations: last['operations'], namespaces: last['namespaces'] }, end);
    for (const event of [first, last]) {
      assert.deepEqual(event['clusterTime'], { $timestamp: { t: START_SECONDS, i: 9 } });
      assert.equal(event['txnNumber'], 5);
      assert.deepEqual(event['lsid'], events[1]!['lsid']);
      assert.deepEqual(event['wallTime'], events[1]!['wallTime']);
    }
    assert.ok(events.slice(1, -1).every(({ operationType }) => operationType === 'insert'));
  }
});

function grouped(operations: readonly Document[]): Map<number, Document[]> {
  const lanes = new Map<number, Document[]>();
  for (const message of messages(run(told, [transaction(operations)]))) {
    lanes.set(message.lane, [...(lanes.get(message.lane) ?? []), json(message)]);
  }
  return lanes;
}

test('in pieces it begins once in each lane and ends once, with the counts of all pieces', () => {
  const pieces = [[insert(0), insert(1, 'shop.lines')], [insert(2)], [insert(3, 'shop.more'), insert(4)]];
  const events: Document[] = [];
  let tally;
  let firstIndex = 0;
  for (const [n, operations] of pieces.entries()) {
    const piece = { firstIndex, last: n === pieces.length - 1, ...(tally && { tally }) };
    const result = run(plan([{ transactions: true }]), [transaction(operations)], { piece });
    events.push(...jsonEvents(result));
    ({ tally } = result);
    firstIndex += operations.length;
  }
  assert.deepEqual(
    events.map(({ _id }) => String(_id).split('.').at(-1)),
    ['begin', '0', '1', '2', '3', '4', 'end'],
  );
  assert.deepEqual(events.at(-1)!['operations'], 5);
  assert.deepEqual(
    events.at(-1)!['namespaces'].map((one: Document) => [one['coll'], one['operations']]),
    [
      ['orders', 3],
      ['lines', 1],
      ['more', 1],
    ],
  );
});

test('positions: the begin lies behind the timestamp before, the end behind the last operation', () => {
  const [begin, , end] = messages(run(plan([{ transactions: true }]), [transaction([insert(0)])]));
  assert.deepEqual(begin!.last, [START_SECONDS, 8, 0xffff_ffff]);
  assert.deepEqual(end!.last, [START_SECONDS, 9, 0xffff_fffe]);
});

test('a restart in the middle repeats no begin, and still ends it with the counts of the whole', () => {
  const of = plan([{ transactions: true }]);
  const floor = (increment: number, index: number): Uint32Array =>
    Floors.of(
      new Map([
        [
          0,
          {
            resume: { kind: 'from', ts: { seconds: 1, increment: 0 } },
            watermark: undefined,
            lanes: [{ ts: { seconds: START_SECONDS, increment }, index }],
          },
        ],
      ]),
      1,
      1,
    ).table;
  const tails = (floors: Uint32Array): unknown[] =>
    jsonEvents(run(of, [transaction([insert(0), insert(1)])], { floors })).map((event) => [
      String(event['_id']).split('.').at(-1),
      event['operations'],
    ]);
  assert.deepEqual(tails(floor(9, 0)), [
    ['1', undefined],
    ['end', 2],
  ]);
  assert.deepEqual(tails(floor(9, 1)), [['end', 2]]);
  assert.deepEqual(tails(floor(9, 0xffff_fffe)), []);
});

test('a write of many documents that is no transaction, and a subscription that did not ask, get neither', () => {
  const many = entry(9, { op: 'c', ns: 'admin.$cmd', o: { applyOps: [insert(0)] } });
  assert.equal(jsonEvents(run(plan([{ transactions: true }]), [many])).length, 1);
  assert.equal(jsonEvents(run(plan(), [transaction([insert(0)])])).length, 1);
});

test('a transaction whose session or time cannot be written is parked, and what is around it arrives', () => {
  const sound = BSON.serialize(transaction([insert(0)]));
  const session = Buffer.from('\u0005uid\0', 'latin1');
  const badSession = new Uint8Array(sound);
  // Its binary claims to be longer than what holds it.
  new DataView(badSession.buffer).setInt32(Buffer.from(sound).indexOf(session) + session.length, 1_000, true);
  const badTime = new Uint8Array(sound);
  const wall = Buffer.from('\u0009wall\0', 'latin1');
  new DataView(badTime.buffer).setBigInt64(Buffer.from(sound).indexOf(wall) + wall.length, 2n ** 62n, true);
  for (const bad of [badSession, badTime]) {
    const around = (i: number): Document => entry(i, { op: 'i', o: { _id: i }, o2: { _id: i } });
    const result = run(told, [around(1), bad, around(20)]);
    assert.deepEqual(
      result.parked.map(({ reason }) => reason),
      ['undecodable'],
    );
    assert.equal(messages(result).length, 2);
  }
});
