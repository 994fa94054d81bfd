/**
 * Entries of servers newer than those the tests can start, built as their sources describe them: what 7.0 and 8.x write
 * differently, and the events that their change streams give for it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Binary, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { START_SECONDS, entry, insert, jsonEvents, plan, run } from './fixtures.ts';

const lsid = { id: new UUID('3f2504e0-4f89-41d3-9a0c-0305e82c3301'), uid: new Binary(Buffer.alloc(32), 0) };
const ui = new UUID('11111111-2222-4333-8444-555555555555');
/** Fields that entries and their operations carry since then, and that mean nothing to a reader of changes. */
const extras = {
  rid: Long.fromNumber(7),
  versionContext: { OFCV: '8.2' },
  checkExistenceForDiffInsert: true,
  needsRetryImage: 'postImage',
  b: true,
};

function previous(i: number): Document {
  return {
    prevOpTime: { ts: new Timestamp({ t: i === 0 ? 0 : START_SECONDS, i }), t: Long.fromNumber(i === 0 ? -1 : 3) },
  };
}

function operation(n: number, more: Document = {}): Document {
  return { op: 'i', ns: 'shop.orders', ui, o: { _id: n, x: 1 }, o2: { region: 'eu', _id: n }, ...more };
}

function applyOps(i: number, operations: readonly Document[], fields: Document = {}): Document {
  return entry(i, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations }, ...fields });
}

function ids(events: readonly Document[]): unknown[] {
  return events.map((event) => [event['_id'].replace('shop:1795327615.', ''), event['operationType']]);
}

test('an insertMany or deleteMany in one entry is as many events, without a session, in their order', () => {
  const result = run(plan(), [
    applyOps(1, [operation(0), operation(1, extras), operation(2)], { versionContext: extras.versionContext }),
    applyOps(
      2,
      [0, 1].map((n) => operation(n, { op: 'd', o: { _id: n }, o2: undefined, rid: Long.fromNumber(n) })),
    ),
  ]);
  const events = jsonEvents(result);
  assert.deepEqual(ids(events), [
    ['1.0', 'insert'],
    ['1.1', 'insert'],
    ['1.2', 'insert'],
    ['2.0', 'delete'],
    ['2.1', 'delete'],
  ]);
  assert.deepEqual(events[1], {
    _id: 'shop:1795327615.1.1',
    operationType: 'insert',
    clusterTime: { $timestamp: { t: START_SECONDS, i: 1 } },
    wallTime: { $date: '2026-11-22T06:06:55.756Z' },
    fullDocument: { _id: 1, x: 1 },
    ns: { db: 'shop', coll: 'orders' },
    documentKey: { region: 'eu', _id: 1 },
  });
  assert.deepEqual([result.parked, result.marks], [[], []]);
});

test('a retryable insertMany over several entries is no transaction: each entry is delivered where it stands', () => {
  const session = { lsid, txnNumber: Long.fromNumber(5), multiOpType: 1 };
  const result = run(plan([{ operations: ['insert'] }]), [
    applyOps(1, [operation(0, { stmtId: 0 }), operation(1, { stmtId: 1 })], { ...session, ...previous(0) }),
    insert(2, { _id: 'other' }),
    applyOps(3, [operation(2, { stmtId: 2 }), operation(3, { stmtId: [3, 4] })], { ...session, ...previous(1) }),
  ]);
  const events = jsonEvents(result);
  assert.deepEqual(ids(events), [
    ['1.0', 'insert'],
    ['1.1', 'insert'],
    ['2.0', 'insert'],
    ['3.0', 'insert'],
    ['3.1', 'insert'],
  ]);
  assert.ok(events.every((event) => !('lsid' in event) && !('txnNumber' in event)));
  assert.deepEqual(result.marks, []);
});

test('multiOpType 0 is what no multiOpType is', () => {
  const session = { lsid, txnNumber: Long.fromNumber(5), ...previous(0) };
  for (const more of [{}, { multiOpType: 0 }]) {
    const [event] = jsonEvents(run(plan(), [applyOps(1, [operation(0)], { ...session, ...more })]));
    assert.equal(event!['txnNumber'], 5);
  }
});

test('fields that mean nothing to a reader change nothing, in an update as in a transaction', () => {
  const o = { $v: 2, diff: { u: { a: 1 }, sarr: { a: true, l: 1 } } };
  const seen = (more: Document): Document[] =>
    jsonEvents(
      run(plan(), [
        entry(1, { op: 'u', o, o2: { _id: 1 }, ...more }),
        applyOps(2, [operation(0, { op: 'u', o, ...more })], {
          lsid,
          txnNumber: Long.fromNumber(1),
          ...previous(0),
          ...more,
        }),
      ]),
    );
  assert.equal(seen({}).length, 2);
  assert.deepEqual(seen({ ...extras, tid: lsid.id, stmtId: [1, 2] }), seen({}));
});

test('images of findAndModify, migrations, and the ends of transactions are no-ops that move the position only', () => {
  const result = run(plan([{ namespaces: ['*'] }]), [
    entry(1, { op: 'n', o: { _id: 1, secret: 'the image' }, lsid, txnNumber: Long.fromNumber(1) }),
    entry(2, {
      op: 'u',
      o: { $v: 2, diff: { u: { a: 1 } } },
      o2: { _id: 1 },
      preImageOpTime: previous(1)['prevOpTime'],
    }),
    entry(3, {
      op: 'n',
      o: { msg: 'x' },
      o2: { endOfTransaction: ['shop.orders'], lsid, txnNumber: Long.fromNumber(1) },
    }),
    entry(4, { op: 'n', o: {}, o2: { migrateChunkToNewShard: 'shop.orders', fromShardId: 'a', toShardId: 'b' } }),
    entry(5, { op: 'n', o: {}, o2: { $sessionMigrateInfo: 1 }, fromMigrate: true }),
  ]);
  assert.deepEqual(ids(jsonEvents(result)), [['2.0', 'update']]);
  assert.deepEqual([result.parked, result.last!.ts.increment], [[], 5]);
});

test("writes to the storage engine's own tables are counted; in a user's collection they are parked", () => {
  const write = (op: string, ns: string, container: Document = { container: 'index-7' }): Document => ({
    op,
    ns,
    ...container,
    o: { k: new Binary(Buffer.from('A'), 0), v: new Binary(Buffer.from('B'), 0) },
  });
  const kinds = ['ci', 'cu', 'cd', 'km'];
  const result = run(plan([{}, { namespaces: ['other.*'] }]), [
    ...kinds.map((op, k) => entry(k + 1, write(op, 'admin.$container'))),
    entry(5, write('ci', 'shop.orders')),
    applyOps(6, [
      operation(0),
      write('ci', 'admin.$container'),
      write('cd', 'shop.orders'),
      write('km', 'shop.orders'),
      operation(4),
    ]),
  ]);
  assert.deepEqual(result.unknownOps, { ci: 3, cu: 1, cd: 2, km: 2 });
  assert.deepEqual(
    result.parked.map(({ subscription, id, reason }) => [subscription, id.replace('shop:1795327615.', ''), reason]),
    ['5.0', '6.2', '6.3'].map((id) => [0, id, 'unknown-op']),
  );
  assert.deepEqual(ids(jsonEvents(result)), [
    ['6.0', 'insert'],
    ['6.4', 'insert'],
  ]);
});
