import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { BSON, Decimal128, Double, EJSON, Long, ObjectId, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { parseCondition } from '../../src/config/where.ts';
import type { CraftPlan, SubscriptionPlan } from '../../src/worker/protocol.ts';
import { judge } from '../../src/worker/where.ts';
import { entry, insert, json, messages, plan, run } from './fixtures.ts';

const id = new ObjectId('6b02867ff153d8281a8c2fde');
const CLOUD_EVENTS = {
  mode: 'structured',
  source: '/{source}/{db}/{coll}',
  type: 'mongodb.{operationType}',
  headerPrefix: 'cloudEvents:',
} as const;

function update(i: number, diff: Document, _id: unknown = id): Document {
  return entry(i, { op: 'u', o: { $v: 2, diff }, o2: { _id } });
}

function remove(i: number, _id: unknown = id): Document {
  return entry(i, { op: 'd', o: { _id } });
}

function crafted(craft: CraftPlan, given: Partial<SubscriptionPlan> = {}) {
  return plan([{ craft, ...given }]);
}

describe('format debezium', () => {
  const debezium = plan([{ format: 'debezium' }]);

  test('an insert is a create with the whole document as strict-mode JSON in a string', () => {
    const document = {
      _id: Long.fromInt(1004),
      at: new Date(5),
      n: 1,
      d: new Double(2),
      u: new UUID(Buffer.alloc(16, 1)),
    };
    const [message] = messages(run(debezium, [insert(7, document)]));
    const { after, ...rest } = json(message!);
    assert.equal(
      after,
      '{"_id": {"$numberLong": "1004"}, "at": {"$date": 5}, "n": 1, "d": 2.0, ' +
        '"u": {"$binary": "AQEBAQEBAQEBAQEBAQEBAQ==", "$type": "04"}}',
    );
    const { version, ...source } = rest['source'];
    assert.match(version, /^\d+\./);
    assert.deepEqual(
      { ...rest, source },
      {
        before: null,
        updateDescription: null,
        source: {
          connector: 'mongodb',
          name: 'shop',
          ts_ms: 1_795_327_615_000,
          ts_us: 1_795_327_615_000_000,
          ts_ns: 1_795_327_615_000_000_000,
          snapshot: 'false',
          db: 'shop',
          sequence: null,
          collection: 'orders',
          ord: 7,
          lsid: null,
          txnNumber: null,
          wallTime: 1_795_327_615_756,
        },
        op: 'c',
        ts_ms: 1_795_327_615_756,
        ts_us: 1_795_327_615_756_000,
        ts_ns: 1_795_327_615_756_000_000,
        transaction: null,
      },
    );
    assert.deepEqual(message!.headers, { key: '{"id":"1004"}' });
  });

  test('an update tells its fields as JSON in a string, and null for lists that are empty', () => {
    const [one, other] = messages(
      run(debezium, [
        update(1, { u: { name: 'Anne' }, d: { old: false } }),
        update(2, { u: { n: 1 }, slist: { a: true, l: 2 } }),
      ]),
    ).map(json);
    assert.equal(one!['op'], 'u');
    assert.equal(one!['after'], null);
    assert.deepEqual(one!['updateDescription'], {
      removedFields: ['old'],
      updatedFields: '{"name":"Anne"}',
      truncatedArrays: null,
    });
    assert.deepEqual(other!['updateDescription'], {
      removedFields: null,
      updatedFields: '{"n":1}',
      truncatedArrays: [{ field: 'list', newSize: 2 }],
    });
  });

  test('a replace is an update with the new document; a delete says by its key what it deleted', () => {
    const [replaced, deleted] = messages(
      run(debezium, [entry(1, { op: 'u', o: { _id: 'x', a: 1 }, o2: { _id: 'x' } }), remove(2)]),
    );
    const { op, after, updateDescription } = json(replaced!);
    assert.deepEqual(
      { op, after, updateDescription },
      { op: 'u', after: '{"_id": "x", "a": 1}', updateDescription: null },
    );
    assert.deepEqual(replaced!.headers, { key: '{"id":"\\"x\\""}' });
    const gone = json(deleted!);
    assert.deepEqual([gone['op'], gone['before'], gone['after']], ['d', null, null]);
    assert.deepEqual(JSON.parse(deleted!.headers!['key']!), { id: `{"$oid":"${id.toHexString()}"}` });
  });

  test('in a transaction, source tells session and number', () => {
    const lsid = { id: new UUID(Buffer.alloc(16, 2)) };
    const [message] = messages(
      run(debezium, [
        entry(1, {
          op: 'c',
          ns: 'admin.$cmd',
          lsid,
          txnNumber: Long.fromInt(3),
          prevOpTime: { ts: new Timestamp(0n), t: Long.fromInt(-1) },
          o: { applyOps: [{ op: 'i', ns: 'shop.orders', o: { _id: 1 }, o2: { _id: 1 } }] },
        }),
      ]),
    );
    const { source } = json(message!);
    assert.equal(source.txnNumber, 3);
    assert.deepEqual(JSON.parse(source.lsid).id.$type, '04');
  });
});

describe('format cloudevents', () => {
  test('an event with a time that no date can be is parked, and the others arrive', () => {
    const bad = BSON.serialize(remove(2));
    const wall = Buffer.from('\u0009wall\0', 'latin1');
    new DataView(bad.buffer, bad.byteOffset).setBigInt64(Buffer.from(bad).indexOf(wall) + wall.length, 2n ** 62n, true);
    const events = [remove(1), bad, remove(3)];
    const result = run(crafted({ cloudEvents: CLOUD_EVENTS }, { format: 'cloudevents' }), events);
    assert.deepEqual(
      result.parked.map(({ reason }) => reason),
      ['undecodable'],
    );
    assert.equal(messages(result).length, 2);
  });

  test('structured: attributes and data in one object', () => {
    const [message] = messages(
      run(crafted({ cloudEvents: CLOUD_EVENTS }, { format: 'cloudevents' }), [
        insert(1, { _id: id, a: 1 }, 'shop.ö/x'),
      ]),
    );
    const plain = json(messages(run(plan([{}]), [insert(1, { _id: id, a: 1 }, 'shop.ö/x')]))[0]!);
    assert.deepEqual(json(message!), {
      specversion: '1.0',
      id: 'shop:1795327615.1.0',
      source: '/shop/shop/%C3%B6%2Fx',
      type: 'mongodb.insert',
      subject: id.toHexString(),
      time: '2026-11-22T06:06:55.756Z',
      datacontenttype: 'application/json',
      data: plain,
    });
    assert.equal(message!.headers, undefined);
  });

  test('binary: the body is the event, the attributes are headers', () => {
    const cloudEvents = { ...CLOUD_EVENTS, mode: 'binary', headerPrefix: 'cloudEvents_' } as const;
    const [message] = messages(
      run(crafted({ cloudEvents }, { format: 'cloudevents' }), [remove(1, { a: 1 })], { wallTime: false }),
    );
    assert.equal(json(message!)['operationType'], 'delete');
    assert.deepEqual(message!.headers, {
      cloudEvents_specversion: '1.0',
      cloudEvents_id: 'shop:1795327615.1.0',
      cloudEvents_source: '/shop/shop/orders',
      cloudEvents_type: 'mongodb.delete',
      cloudEvents_subject: '{"a":1}',
      cloudEvents_time: '2026-11-22T06:06:55.000Z',
    });
  });
});

describe('headers', () => {
  const headers = { tenant: '{fullDocument.tenant}', op: '{operationType}' };

  test('are templates; an event that lacks a field of one is parked, and says which', () => {
    const result = run(crafted({ headers }), [insert(1, { _id: 1, tenant: 'a' }), insert(2, { _id: 2 })]);
    assert.deepEqual(
      messages(result).map((message) => message.headers),
      [{ tenant: 'a', op: 'insert' }],
    );
    assert.equal(result.parked[0]!.reason, 'missing-field');
    assert.match(result.parked[0]!.detail, /\{fullDocument\.tenant\} of the header tenant/);
  });

  test('events with different headers do not share a message', () => {
    const of = crafted({ headers }, { maxEvents: 10, routingKey: 'all' });
    const tenants = ['a', 'a', 'b', 'b', 'a'];
    const result = run(
      of,
      tenants.map((tenant, k) => insert(k + 1, { _id: k, tenant })),
    );
    assert.deepEqual(
      messages(result).map((message) => [message.headers!['tenant'], message.events]),
      [
        ['a', 2],
        ['b', 2],
        ['a', 1],
      ],
    );
    assert.equal(result.headers!.length, 2);
  });

  test('that no broker could be sure to take in one frame park the event', () => {
    const [parked] = run(crafted({ headers }), [insert(1, { _id: 1, tenant: 'x'.repeat(4_000) })]).parked;
    assert.equal(parked!.reason, 'headers-too-long');
  });

  test('are not there where none are asked for', () => {
    const result = run(plan([{}]), [insert(1, { _id: 1 })]);
    assert.equal(result.headers, undefined);
    assert.equal(messages(result)[0]!.headers, undefined);
  });
});

describe('compression', () => {
  test('a message of many events is one gzip member, and members behind each other are one text', () => {
    const of = plan([
      { compression: 'gzip', maxEvents: 100, routingKey: 'all' },
      { maxEvents: 100, routingKey: 'all' },
    ]);
    const result = run(
      of,
      Array.from({ length: 150 }, (_, k) => insert(k + 1, { _id: k, text: 'x'.repeat(50) })),
    );
    const all = messages(result);
    const packed = all.filter(({ lane }) => lane === 0);
    const plain = Buffer.concat(all.filter(({ lane }) => lane === 1).map(({ body }) => body));
    assert.deepEqual(
      packed.map(({ events }) => events),
      [100, 50],
    );
    const joined = Buffer.concat(packed.map(({ body }) => body));
    assert.deepEqual(gunzipSync(joined), plain);
    assert.ok(joined.length < plain.length / 5);
  });

  test('the limit holds for what is sent: what only fits compressed is sent, what does not is parked', () => {
    const of = plan([{ compression: 'gzip', maxMessageBytes: 2_000 }]);
    const noise = Array.from({ length: 3_000 }, (_, k) => String.fromCharCode(33 + ((k * k * 7919) % 89))).join('');
    const random = createHmac('sha512', 'k').update(noise).digest('base64').repeat(1);
    const hard = Array.from({ length: 40 }, (_, k) =>
      createHmac('sha512', random).update(`${k}`).digest('base64'),
    ).join('');
    const result = run(of, [
      insert(1, { _id: 1, a: 'a'.repeat(10_000) }),
      insert(2, { _id: 2, a: hard }),
      insert(3, { _id: 3 }),
    ]);
    const [first, last] = messages(result);
    assert.ok(first!.body.length <= 2_000);
    assert.equal(JSON.parse(gunzipSync(first!.body).toString()).fullDocument.a.length, 10_000);
    assert.equal(JSON.parse(gunzipSync(last!.body).toString()).fullDocument._id, 3);
    assert.deepEqual(
      result.parked.map(({ reason, id: its }) => [reason, its]),
      [['too-large', 'shop:1795327615.2.0']],
    );
  });

  test('what is just below the limit and cannot be compressed is not sent above it', () => {
    const hard = Array.from({ length: 60 }, (_, k) => createHmac('sha512', 'k').update(`${k}`).digest('hex')).join('');
    for (let length = 1_700; length < 2_100; length += 7) {
      const bytes = Buffer.from(hard, 'hex').subarray(0, length);
      const of = plan([{ compression: 'gzip', maxMessageBytes: 2_000, format: 'bson' }]);
      for (const { body } of messages(run(of, [insert(1, { _id: 1, bytes })]))) assert.ok(body.length <= 2_000);
    }
  });
});

describe('where', () => {
  const event = BSON.serialize({
    _id: 'x',
    operationType: 'update',
    documentKey: { _id: id },
    updateDescription: {
      updatedFields: {
        status: 'paid',
        'items.0.n': 2,
        'x.y': 1,
        price: Decimal128.fromString('19.99'),
        at: new Date(5_000),
      },
      removedFields: ['old', 'a.b'],
    },
  });
  const whole = BSON.serialize({
    operationType: 'insert',
    documentKey: { _id: 1 },
    fullDocument: {
      _id: 1,
      n: Long.fromString('9007199254740993'),
      tags: ['a', 'b'],
      items: [{ sku: 1 }, { sku: new Double(2) }],
      'x.y': true,
      nothing: null,
    },
  });
  const cases: readonly [unknown, Uint8Array, boolean | undefined][] = [
    [{ operation: 'update' }, event, true],
    [{ operation: ['insert', 'delete'] }, event, false],
    [{ field: 'updatedFields.status', equals: 'paid' }, event, true],
    [{ field: 'updatedFields.status', equals: 'open' }, event, false],
    [{ field: 'fullDocument.status', equals: 'paid' }, event, undefined],
    [{ not: { field: 'fullDocument.status', equals: 'paid' } }, event, undefined],
    [{ any: [{ field: 'fullDocument.a', equals: 1 }, { operation: 'update' }] }, event, true],
    [{ all: [{ field: 'fullDocument.a', equals: 1 }, { operation: 'insert' }] }, event, false],
    [{ all: [{ field: 'fullDocument.a', equals: 1 }, { operation: 'update' }] }, event, undefined],
    [{ field: 'updatedFields.other', exists: false }, event, undefined],
    [{ field: 'updatedFields.old', exists: false }, event, true],
    [{ field: 'updatedFields.items', exists: true }, event, true],
    [{ field: 'updatedFields.items', equals: 1 }, event, undefined],
    [{ field: 'updatedFields.price', equals: 19.99 }, event, true],
    [{ field: 'updatedFields.at', gte: '1970-01-01T00:00:05Z' }, event, true],
    [{ field: 'updatedFields.at', lt: { $date: '1970-01-01T00:00:05Z' } }, event, false],
    [{ field: 'updatedFields.x.y', equals: 1 }, event, true],
    [{ field: 'documentKey._id', equals: { $oid: id.toHexString() } }, event, true],
    [{ field: 'documentKey.region', exists: true }, event, undefined],
    [{ field: 'fullDocument.n', gt: 9_007_199_254_740_992 }, whole, true],
    [{ field: 'fullDocument.n', equals: { $numberLong: '9007199254740993' } }, whole, true],
    [{ field: 'fullDocument.tags', equals: 'b' }, whole, true],
    [{ field: 'fullDocument.items.sku', in: [2, 3] }, whole, true],
    [{ field: 'fullDocument.items.1.sku', equals: 2 }, whole, true],
    [{ field: 'fullDocument.x.y', equals: true }, whole, true],
    [{ field: 'fullDocument.nothing', equals: null }, whole, true],
    [{ field: 'fullDocument.missing', equals: null }, whole, false],
    [{ field: 'fullDocument.missing', exists: false }, whole, true],
    [{ field: 'fullDocument.n', gt: 'text' }, whole, false],
  ];
  for (const [written, of, expected] of cases) {
    test(`${JSON.stringify(written)} is ${expected ?? 'unknown'}`, () => {
      assert.equal(judge(parseCondition(written), of), expected);
    });
  }

  test('what does not meet it counts as filtered; whenUnknown decides about the rest', () => {
    const condition = parseCondition({ field: 'fullDocument.a', equals: 1 });
    const entries = [insert(1, { _id: 1, a: 1 }), insert(2, { _id: 2, a: 2 }), remove(3)];
    for (const [whenUnknown, sent, filtered] of [
      ['deliver', 2, 1],
      ['skip', 1, 2],
    ] as const) {
      const result = run(crafted({ where: { condition, whenUnknown } }), entries);
      assert.deepEqual([messages(result).length, result.filtered, result.parked.length], [sent, filtered, 0]);
      assert.deepEqual(messages(result).map(text)[0], messages(run(plan([{}]), entries)).map(text)[0]);
    }
  });
});

function text(message: { readonly body: Uint8Array }): string {
  return Buffer.from(message.body).toString();
}

describe('fields and mask', () => {
  const key = 'a key that is long enough';
  const hashed = (value: string): string => createHmac('sha256', key).update(value).digest('hex');
  const shaped = (craft: CraftPlan, entries: Document[]): Document[] =>
    messages(run(crafted(craft, { routingKey: '' }), entries)).map((message) => EJSON.parse(text(message)) as Document);

  test('a mask meets the whole field, what lies below it, and items of arrays, in documents and in updates', () => {
    const mask = [
      { fields: ['ssn', 'items.owner'], kind: 'constant', value: '***' },
      { fields: ['mail'], kind: 'hash', key, encoding: 'hex' },
    ] as const;
    const [inserted, updated, deep] = shaped({ mask }, [
      insert(1, { _id: 1, ssn: { a: 1 }, mail: 'a@b', items: [{ owner: 'x', n: 1 }, 5], 'ssn.old': 'y' }),
      update(2, { u: { mail: 'c@d', n: 1 }, sitems: { a: true, u0: { owner: 'z' }, s1: { u: { owner: 'z', m: 2 } } } }),
      update(3, { sssn: { u: { 'by-name': 1, other: 2 }, d: { third: false } }, d: { mail: false } }),
    ]);
    assert.deepEqual(inserted!['fullDocument'], {
      _id: 1,
      ssn: '***',
      mail: hashed('a@b'),
      items: [{ owner: '***', n: 1 }, 5],
    });
    assert.deepEqual(updated!['updateDescription'].updatedFields, {
      mail: hashed('c@d'),
      n: 1,
      'items.0': { owner: '***' },
      'items.1.owner': '***',
      'items.1.m': 2,
    });
    assert.deepEqual(deep!['updateDescription'], {
      updatedFields: { ssn: '***' },
      removedFields: ['mail'],
      truncatedArrays: [],
    });
  });

  test('include keeps what it names and the _id, exclude takes away, also of keys', () => {
    const [one] = shaped({ fields: { include: ['a.b', 'c'], exclude: ['c.d'] } }, [
      insert(1, { _id: 1, a: { b: 1, x: 2 }, c: { d: 1, e: 2 }, z: 3, more: [] }),
    ]);
    assert.deepEqual(one!['fullDocument'], { _id: 1, a: { b: 1 }, c: { e: 2 } });
    const [two] = shaped({ fields: { exclude: ['_id'] } }, [remove(1)]);
    assert.deepEqual(two!['documentKey'], {});
  });

  test('what is parked of such a subscription is the event as it may be seen, or no bytes at all', () => {
    const mask = [{ fields: ['ssn'], kind: 'constant', value: 0 }] as const;
    const of = crafted({ mask }, { routingKey: '{fullDocument.missing}' });
    const broken = BSON.serialize(insert(2, { _id: 2, ssn: 'SECRET', n: 'abc' }));
    const at = Buffer.from(broken).indexOf('abc') - 4;
    broken[at] = 200;
    const { parked } = run(of, [insert(1, { _id: 1, ssn: 'SECRET' }), broken]);
    assert.deepEqual(
      parked.map(({ reason, entry: bytes }) => [reason, bytes.length > 0]),
      [
        ['missing-field', true],
        ['undecodable', false],
      ],
    );
    assert.equal(BSON.deserialize(parked[0]!.entry)['fullDocument'].ssn, 0);
    assert.match(parked[1]!.detail, /not kept/);
  });
});

test('a resync keeps its cause and its reason when fields are hidden', () => {
  const rename = { renameCollection: 'shop.tmp.agg_out.1', to: 'shop.report', dropTarget: new UUID() };
  const swap = entry(4, { op: 'c', ns: 'shop.$cmd', o: rename });
  const [event] = messages(
    run(plan([{ namespaces: ['shop.report'], craft: { fields: { exclude: ['zzz'] } } }]), [swap]),
  )
    .filter(({ type }) => type === 'resync')
    .map(json);
  assert.equal(event!['cause'], 'out');
  assert.match(event!['reason'], /\$out/);
});
