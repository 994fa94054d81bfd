import assert from 'node:assert/strict';
import test from 'node:test';
import { EJSON, Long, Timestamp, serialize } from 'bson';
import type { Document } from 'bson';
import { readConfig } from '../../src/config/load.ts';
import { shapeHash } from '../../src/config/routing-hash.ts';
import { noLog } from '../../src/library/no-log.ts';
import { Remaker } from '../../src/replay/remake.ts';
import type { ParkedRecord } from '../../src/checkpoint/record.ts';
import { parked } from '../checkpoint/fixtures.ts';

const ORIGIN = { serverVersion: 600 };

async function configured(subscription: object = {}) {
  return await readConfig(
    {
      sources: { renamed: { uri: 'mongodb://127.0.0.1:1/?replicaSet=rs0' } },
      sinks: { mq: { uri: 'amqp://127.0.0.1:1' } },
      subscriptions: [{ name: 'orders', namespaces: ['shop.orders'], to: { exchange: 'x' }, ...subscription }],
    },
    {},
  );
}

/** What becomes of one record: the messages' ids and bodies, or why it stays. */
async function remade(record: ParkedRecord, subscription?: object) {
  await using remaker = new Remaker(await configured(subscription), noLog);
  const result = await remaker.remake(record);
  if (result.kind === 'kept') return result;
  return result.messages.map(({ messageId, routingKey, body }) => ({
    messageId,
    routingKey,
    event: EJSON.parse(body.toString()) as Document,
  }));
}

const operation = (n: number): Document => ({ op: 'i', ns: 'shop.orders', o: { _id: n }, o2: { _id: n } });

function transaction(operations: readonly Document[]): Uint8Array {
  return serialize({
    lsid: { id: 1 },
    txnNumber: Long.fromNumber(1),
    op: 'c',
    ns: 'admin.$cmd',
    o: { applyOps: operations },
    ts: new Timestamp({ t: 9, i: 3 }),
    t: Long.fromNumber(1),
    wall: new Date(0),
    prevOpTime: { ts: new Timestamp({ t: 0, i: 0 }), t: Long.fromNumber(-1) },
  });
}

const ids = (result: Awaited<ReturnType<typeof remade>>): string[] =>
  Array.isArray(result) ? result.map(({ messageId }) => messageId) : [result.detail];

test('of a transaction only the operation that was parked comes, or all where none of it was delivered', async () => {
  const payload = transaction([0, 1, 2].map(operation));
  const record = parked('shop:9.3.1', { payload, origin: ORIGIN });
  assert.deepEqual(ids(await remade(record)), ['shop:9.3.1'], 'under the source’s name of then');
  const whole = parked('shop:9.3.0', { payload, origin: { ...ORIGIN, whole: true } });
  assert.deepEqual(ids(await remade(whole)), ['shop:9.3.0', 'shop:9.3.1', 'shop:9.3.2']);
  const many = { batch: { maxEvents: 100 } };
  assert.deepEqual(ids(await remade(record, many)), ['shop:9.3.1'], 'in messages of its own');
});

test('in a piece of a larger transaction operations keep their numbers', async () => {
  const payload = transaction([0, 1, 2].map(operation));
  const record = parked('shop:9.3.1001', { payload, origin: { ...ORIGIN, firstIndex: 1_000 } });
  const made = await remade(record, { transactions: true });
  assert.ok(Array.isArray(made));
  assert.deepEqual(
    made.map(({ messageId, event }) => [messageId, (event['documentKey'] as Document)['_id']]),
    [['shop:9.3.1001', 1]],
  );
});

test('what its subscription does not ask for any more, or nobody can take apart, stays with the reason', async () => {
  const payload = transaction([operation(0)]);
  const record = parked('shop:9.3.0', { payload, origin: ORIGIN });
  assert.deepEqual(await remade(record, { namespaces: ['shop.other'] }), {
    kind: 'kept',
    detail: 'its subscription does not ask for it any more',
  });
  assert.match(ids(await remade({ ...record, subscription: 'gone' }))[0]!, /not configured/);
  const damaged = { ...record, payload: payload.subarray(0, 40) };
  const result = await remade(damaged);
  assert.ok(!Array.isArray(result) && result.reason === 'undecodable', JSON.stringify(result));
  const still = await remade(record, { to: { exchange: 'x', routingKey: '{fullDocument.none}' } });
  assert.ok(!Array.isArray(still) && still.reason === 'missing-field');
});

test('a shaped event is not hidden a second time, unless other fields are hidden now', async () => {
  const event = {
    _id: 'shop:9.3.0',
    operationType: 'insert',
    clusterTime: new Timestamp({ t: 9, i: 3 }),
    ns: { db: 'shop', coll: 'orders' },
    documentKey: { _id: 1 },
    fullDocument: { _id: 1, a: 'hash of a', b: 'plain' },
  };
  const hash = { key: 'k'.repeat(20), encoding: 'hex' };
  const mask = (...fields: string[]): object => ({ mask: [{ fields, hash }] });
  const { subscriptions } = await configured(mask('a'));
  const shape = shapeHash(subscriptions[0]!);
  const record = parked('shop:9.3.0', {
    payload: serialize(event),
    payloadKind: 'event',
    origin: { ...ORIGIN, shape },
  });
  const documentOf = (result: Awaited<ReturnType<typeof remade>>): Document => {
    assert.ok(Array.isArray(result), JSON.stringify(result));
    assert.equal(result[0]!.routingKey, 'shop.orders.insert');
    return result[0]!.event['fullDocument'] as Document;
  };
  assert.deepEqual(documentOf(await remade(record, mask('a'))), event.fullDocument);
  const more = documentOf(await remade(record, mask('a', 'b')));
  assert.notEqual(more['b'], 'plain');
  const nothing = await remade({ ...record, payload: new Uint8Array(0) }, mask('a'));
  assert.match(ids(nothing)[0]!, /not kept/);
});
