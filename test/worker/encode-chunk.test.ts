import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long } from 'bson';
import type { Document } from 'bson';
import { cutOut } from '../../src/snapshot/cut.ts';
import { DOCUMENT_FIELDS, DocumentField } from '../../src/worker/protocol.ts';
import { hashId, hashNamespace, toPartition } from '../../src/worker/partition.ts';
import { useTranscoder } from '../../src/worker/encode-batch.ts';
import { Transcoder } from '../../src/worker/transcoder.ts';
import type { BatchResult, ChunkJob, SubscriptionPlan } from '../../src/worker/protocol.ts';
import { START_SECONDS, entry, insert, json, jsonEvents, messages, plan, run, text } from './fixtures.ts';

const CHUNK: ChunkJob = {
  subscription: 0,
  ns: 'shop.orders',
  run: '17',
  at: { seconds: START_SECONDS, increment: 4 },
};
const documents: readonly Document[] = Array.from({ length: 40 }, (_, n) => ({
  _id: n,
  text: `"${n}" ü`,
  at: new Date(n),
}));

const chunkOf = (subscription: Partial<SubscriptionPlan>, of = documents): BatchResult =>
  run(plan([subscription], { partitions: 4, partitionBy: [{ namespaces: ['*'], key: 'document' }] }), of, {
    chunk: CHUNK,
  });

test('a document becomes an event like any other, with an `_id` of its own', () => {
  const [message] = messages(chunkOf({}, [{ _id: 7, a: { b: Long.fromNumber(3) } }]));
  assert.deepEqual(json(message!), {
    _id: 'shop:snapshot.17.shop.orders.{"$numberInt":"7"}',
    operationType: 'snapshot',
    clusterTime: { $timestamp: { t: START_SECONDS, i: 4 } },
    fullDocument: { _id: 7, a: { b: 3 } },
    ns: { db: 'shop', coll: 'orders' },
    documentKey: { _id: 7 },
  });
  assert.equal(message!.key, 'shop.orders.snapshot');
  assert.equal(message!.type, 'snapshot');
});

test('the module and JavaScript write the same bytes, in all formats', () => {
  for (const format of ['json', 'json-canonical', 'bson'] as const) {
    const fast = chunkOf({ format, maxEvents: 10 });
    const before = useTranscoder(new Transcoder(1 << 16, { module: false }));
    const slow = chunkOf({ format, maxEvents: 10 });
    useTranscoder(before);
    assert.deepEqual(Buffer.from(fast.bodies), Buffer.from(slow.bodies));
  }
});

test('as BSON it is the event that JSON shows', () => {
  const bson = messages(chunkOf({ format: 'bson' })).map(({ body }) => BSON.deserialize(body));
  const canonical = messages(chunkOf({ format: 'json-canonical' })).map((one) => BSON.EJSON.parse(text(one.body)));
  assert.deepEqual(bson, canonical);
});

test('it goes to the lane that changes of the same document go to', () => {
  const { records } = chunkOf({});
  assert.ok(records.length > 0);
  for (const { lane, body } of messages(chunkOf({ format: 'bson' }))) {
    const document = BSON.serialize({ _id: BSON.deserialize(body)['documentKey']._id });
    const hash = hashId(hashNamespace(Buffer.from('shop.orders')), document, 4, document.length - 1);
    assert.equal(lane, toPartition(hash, 4));
  }
});

test('envelopes, conditions and shapes are as for any other event', () => {
  const debezium = messages(chunkOf({ format: 'debezium' }, [{ _id: 1 }])).map(json);
  assert.equal(debezium[0]!['op'], 'r');
  assert.equal(debezium[0]!['source'].snapshot, 'true');
  const [cloud] = messages(
    chunkOf(
      {
        format: 'cloudevents',
        craft: { cloudEvents: { mode: 'structured', source: '/s', type: '{operationType}', headerPrefix: '' } },
      },
      [{ _id: 1 }],
    ),
  ).map(json);
  assert.equal(cloud!['id'], 'shop:snapshot.17.shop.orders.{"$numberInt":"1"}');
  assert.equal(cloud!['type'], 'snapshot');
  const shaped = jsonEvents(chunkOf({ craft: { fields: { exclude: ['text'] } } }, [{ _id: 1, text: 'secret', n: 2 }]));
  assert.deepEqual(shaped[0]!['fullDocument'], { _id: 1, n: 2 });
});

test('what cannot be sent is parked, and the others are not', () => {
  const result = chunkOf({ maxMessageBytes: 300 }, [{ _id: 1 }, { _id: 2, text: 'x'.repeat(400) }, { _id: 3 }]);
  assert.deepEqual(
    result.parked.map(({ id, reason, partition }) => ({ id, reason, partition })),
    [
      {
        id: 'shop:snapshot.17.shop.orders.{"$numberInt":"2"}',
        reason: 'too-large',
        partition: result.parked[0]!.partition,
      },
    ],
  );
  assert.equal(BSON.deserialize(result.parked[0]!.entry)['fullDocument'].text.length, 400);
  assert.equal(messages(result).length, 2);
});

test('any documents can be taken out again, and each of the others stays in its message, whole and once', () => {
  for (const maxEvents of [1, 7, 100]) {
    for (const every of [1, 2, 3, 11]) {
      const result = chunkOf({ maxEvents, format: 'json' });
      const touched = new Set<number>();
      for (let n = 0; n < documents.length; n += every) {
        touched.add(result.documents![n * DOCUMENT_FIELDS + DocumentField.hash]!);
      }
      const cut = cutOut(result, touched, { isDivisible: true, idOf: (n) => `id ${n}` });
      const kept = jsonEvents(cut.result).map(({ documentKey }) => Number(documentKey._id));
      const gone = documents.map((_, n) => n).filter((n) => n % every === 0);
      assert.deepEqual(
        [...cut.out].toSorted((a, b) => a - b),
        gone,
      );
      assert.deepEqual(
        [...kept, ...gone].toSorted((a, b) => a - b),
        documents.map((_, n) => n),
      );
      for (const [k, { events }] of messages(cut.result).entries()) {
        const [first, last] = [cut.result.ids![k * 2], cut.result.ids![k * 2 + 1]];
        assert.ok(events > 1 || first === last);
      }
      assert.equal(cut.result.ids!.length, messages(cut.result).length * 2);
    }
  }
});

test('of a compressed message with one that is taken out all go', () => {
  const result = chunkOf({ maxEvents: 100, compression: 'gzip' });
  const touched = new Set([result.documents![DocumentField.hash]!]);
  const cut = cutOut(result, touched, { isDivisible: false, idOf: String });
  const sent = messages(cut.result).reduce((sum, { events }) => sum + events, 0);
  assert.equal(sent + cut.out.length, documents.length);
  assert.ok(cut.out.length > 1 && sent > 0);
});

test('a batch tells which documents of a collection it touches, and what becomes of collections, whoever wants them', () => {
  const of = plan([{ operations: ['insert'], namespaces: ['shop.other'] }]);
  const { touched } = run(
    of,
    [
      insert(1, { _id: 1 }),
      entry(2, { op: 'd', o: { _id: 2 } }),
      entry(3, { op: 'u', o: { $v: 2, diff: {} }, o2: { _id: 3 }, fromMigrate: true }),
      insert(4, { _id: 4 }, 'shop.unread'),
      entry(5, { op: 'c', ns: 'shop.$cmd', o: { drop: 'orders' } }),
      entry(6, { op: 'c', ns: 'shop.$cmd', o: { renameCollection: 'shop.a', to: 'shop.orders' } }),
      entry(7, { op: 'c', ns: 'shop.$cmd', o: { dropDatabase: 1 } }),
      entry(8, { op: 'c', ns: 'shop.$cmd', o: { create: 'orders' } }),
      entry(9, { op: 'c', ns: 'shop.$cmd', o: { emptycapped: 'orders' } }),
      entry(10, {
        op: 'c',
        ns: 'admin.$cmd',
        o: { applyOps: [{ op: 'i', ns: 'shop.orders', o: { _id: 5 }, o2: { _id: 5 } }] },
      }),
      entry(11, { op: 'x' }),
    ],
    { touching: ['shop.orders'] },
  );
  const hashes = [1, 2, 3, 5].map((_id) => {
    const document = BSON.serialize({ _id });
    return hashId(hashNamespace(Buffer.from('shop.orders')), document, 4, document.length - 1) >>> 0;
  });
  assert.deepEqual([...touched!.documents], hashes);
  assert.deepEqual(touched!.commands, [
    { kind: 'drop', ns: 'shop.orders' },
    { kind: 'rename', ns: 'shop.a', to: 'shop.orders' },
    { kind: 'dropDatabase', ns: 'shop' },
    { kind: 'unclear', ns: 'shop.orders' },
    { kind: 'unclear', ns: '' },
  ]);
  assert.equal(run(of, [insert(1, { _id: 1 })]).touched, undefined);
});
