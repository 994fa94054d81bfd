import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { MalformedBson } from '../../src/worker/bson.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { START_SECONDS, batchOf, entry, insert, jsonEvents, messages, plan, run } from './fixtures.ts';

const lsid = { id: new UUID('3f2504e0-4f89-41d3-9a0c-0305e82c3301'), uid: Buffer.alloc(32) };
const session = { lsid, txnNumber: Long.fromNumber(5) };
const none = { prevOpTime: { ts: new Timestamp({ t: 0, i: 0 }), t: Long.fromNumber(-1) } };
const earlier = { prevOpTime: { ts: new Timestamp({ t: START_SECONDS, i: 1 }), t: Long.fromNumber(3) } };

function operation(n: number, ns = 'shop.orders', more: Document = {}): Document {
  return { op: 'i', ns, ui: new UUID(), o: { _id: n }, o2: { _id: n }, ...more };
}

function applyOps(i: number, operations: readonly Document[], fields: Document = {}, o: Document = {}): Document {
  return entry(i, { op: 'c', ns: 'admin.$cmd', o: { applyOps: operations, ...o }, ...fields });
}

function parkedOf(result: BatchResult): unknown[] {
  return result.parked.map(({ subscription, id, ns, reason }) => [
    subscription,
    id.replace('shop:1795327615.', ''),
    ns,
    reason,
  ]);
}

test('a transaction in one entry is unrolled; every operation counts, also those nobody asked for', () => {
  const operations = [
    operation(0),
    operation(1, 'other.x'),
    operation(2, 'shop.orders', { op: 'd' }),
    operation(3, 'shop.orders', { fromMigrate: true }),
    operation(4, 'shop.orders', { op: 'u', o: { $v: 2, diff: { u: { a: 1 } } } }),
  ];
  const result = run(plan(), [applyOps(2, operations, { ...session, ...none })]);
  const events = jsonEvents(result);
  assert.deepEqual(
    events.map((event) => [event['_id'], event['operationType'], event['txnNumber']]),
    [
      ['shop:1795327615.2.0', 'insert', 5],
      ['shop:1795327615.2.2', 'delete', 5],
      ['shop:1795327615.2.4', 'update', 5],
    ],
  );
  assert.deepEqual(events[0]!['lsid'].id, { $binary: { base64: 'PyUE4E+JQdOaDAMF6CwzAQ==', subType: '04' } });
  assert.equal(result.filtered, 1);
  const [bson] = messages(run(plan([{ format: 'bson' }]), [applyOps(2, operations, { ...session, ...none })]));
  const decoded = BSON.deserialize(bson!.body);
  assert.deepEqual([decoded['txnNumber'], decoded['lsid'].id.toString()], [5, lsid.id.toString()]);
});

test('many documents in one write are unrolled without session fields', () => {
  for (const fields of [{}, { ...session, ...earlier, multiOpType: 1 }]) {
    const events = jsonEvents(run(plan(), [applyOps(2, [operation(0), operation(1)], fields)]));
    assert.deepEqual(
      events.map((event) => [event['_id'], 'lsid' in event, 'txnNumber' in event]),
      [0, 1].map((k) => [`shop:1795327615.2.${k}`, false, false]),
    );
  }
});

test('a retryable write is no transaction: its session fields are not shown', () => {
  const [event] = jsonEvents(run(plan(), [{ ...insert(1, { _id: 1 }), ...session, stmtId: 0, ...none }]));
  assert.equal('lsid' in event!, false);
});

test('a transaction over several entries, or prepared, gives nothing but marks until it takes effect', () => {
  const ts = (i: number) => ({ ts: { seconds: START_SECONDS, increment: i }, t: 3 });
  const name = Buffer.from(BSON.serialize(lsid)).toString('base64');
  const commit = entry(6, { op: 'c', ns: 'admin.$cmd', o: { commitTransaction: 1 }, ...session, ...earlier });
  const abort = entry(8, { op: 'c', ns: 'admin.$cmd', o: { abortTransaction: 1 }, ...session, ...earlier });
  const entries = [
    applyOps(1, [operation(0)], { ...session, ...none }, { partialTxn: true }),
    insert(2, { _id: 'a' }),
    applyOps(3, [operation(1)], { ...session, ...earlier }, { prepare: true }),
    applyOps(4, [operation(2)], { ...session, ...earlier }, { count: Long.fromNumber(9) }),
    insert(5, { _id: 'b' }),
    commit,
    insert(7, { _id: 'c' }),
    abort,
  ];
  const result = run(plan(), entries);
  assert.deepEqual(
    jsonEvents(result).map((event) => event['fullDocument']),
    [{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }],
  );
  assert.deepEqual(
    result.marks.map((mark) => ({ ...mark, ...(mark.kind === 'commit' && { start: 0, end: 0 }) })),
    [
      { kind: 'open', session: name, before: undefined, first: true },
      { kind: 'open', session: name, before: ts(2), first: false },
      {
        kind: 'commit',
        session: name,
        records: 1,
        parked: 0,
        before: ts(3),
        at: ts(4),
        previous: ts(1),
        start: 0,
        end: 0,
      },
      {
        kind: 'commit',
        session: name,
        records: 2,
        parked: 0,
        before: ts(5),
        at: ts(6),
        previous: ts(1),
        start: 0,
        end: 0,
      },
      { kind: 'aborted', session: name },
    ],
  );
  const at = result.marks.find((mark) => mark.kind === 'commit')!;
  assert.equal(BSON.deserialize(batchOf(entries).subarray(at.start, at.end))['o'].applyOps[0].o._id, 2);
});

test('what comes before a commit is not joined or mixed with what comes after it', () => {
  const commit = entry(3, { op: 'c', ns: 'admin.$cmd', o: { commitTransaction: 1 }, ...session, ...earlier });
  const entries = [
    insert(1, { _id: 1 }, 'shop.a'),
    insert(2, { _id: 1 }, 'shop.b'),
    commit,
    insert(4, { _id: 2 }, 'shop.a'),
    insert(5, { _id: 2 }, 'shop.b'),
  ];
  const result = run(plan([{ maxEvents: 10, routingKey: 'all' }], { partitions: 64 }), entries);
  assert.deepEqual(
    new Set(
      messages(result)
        .slice(0, 2)
        .map(({ first }) => first[1]),
    ),
    new Set([1, 2]),
  );
  assert.deepEqual(
    new Set(
      messages(result)
        .slice(2)
        .map(({ first }) => first[1]),
    ),
    new Set([4, 5]),
  );
  assert.equal(result.marks[0]!.kind === 'commit' && result.marks[0]!.records, 2);
});

test('a piece of a transaction counts on from the pieces before it', () => {
  const result = run(plan(), [applyOps(2, [operation(0), operation(1)], session)], {
    piece: { firstIndex: 700, last: true },
  });
  assert.deepEqual(
    jsonEvents(result).map((event) => [event['_id'], event['txnNumber']]),
    [
      ['shop:1795327615.2.700', 5],
      ['shop:1795327615.2.701', 5],
    ],
  );
});

test('applyOps inside applyOps is unrolled in its place; every operation has a number of its own', () => {
  const inner = (...operations: Document[]): Document => ({ op: 'c', ns: 'admin.$cmd', o: { applyOps: operations } });
  const tree = [operation(0), inner(operation(1), inner(operation(2)), operation(3), inner()), operation(4)];
  const ids = [0, 1, 2, 3, 4].map((k) => [`shop:1795327615.2.${k}`, { _id: k }]);
  const seen = (result: BatchResult): unknown[] => jsonEvents(result).map((one) => [one['_id'], one['fullDocument']]);
  assert.deepEqual(seen(run(plan(), [applyOps(2, tree)])), ids);
  // Nobody sees what a migration wrote, however it is wrapped.
  const migrated = { ...inner(operation(8)), fromMigrate: true };
  assert.deepEqual(
    seen(run(plan(), [applyOps(2, [migrated, inner(operation(9, 'shop.orders', { fromMigrate: true }))])])),
    [],
  );
  const twenty = Array.from({ length: 20 }).reduce<Document>((one) => inner(one), operation(0));
  assert.deepEqual(seen(run(plan(), [applyOps(2, [twenty])])), ids.slice(0, 1));
  const tooDeep = run(plan(), [applyOps(2, [operation(7), inner(twenty)]), insert(3, { _id: 'after' })]);
  assert.deepEqual(parkedOf(tooDeep), [[0, '2.0', 'admin.$cmd', 'undecodable']]);
  assert.deepEqual(
    jsonEvents(tooDeep).map((one) => one['fullDocument']),
    [{ _id: 'after' }],
  );
});

test('an op of a newer server is counted and parked for whom its namespace concerns', () => {
  const entries = [
    entry(1, { op: 'ci', o: {} }),
    entry(2, { op: 'ci', ns: 'other.x', o: {} }),
    entry(3, { op: 'x', ns: 'admin.$cmd', o: {} }),
    entry(4, { op: '__proto__', ns: 'config.x', o: {} }),
    entry(5, { op: 'c', ns: 'shop.$cmd', o: { brandNew: 'orders' } }),
  ];
  const result = run(plan([{}, { namespaces: ['other.*'] }]), entries);
  assert.deepEqual(Object.entries(result.unknownOps), [
    ['ci', 2],
    ['x', 1],
    ['__proto__', 1],
    ['c:brandNew', 1],
  ]);
  assert.deepEqual(parkedOf(result), [
    [0, '1.0', 'shop.orders', 'unknown-op'],
    [1, '2.0', 'other.x', 'unknown-op'],
    [0, '3.0', 'admin.$cmd', 'unknown-op'],
    [1, '3.0', 'admin.$cmd', 'unknown-op'],
    [0, '5.0', 'shop.orders', 'unknown-op'],
  ]);
});

test('a damaged entry is parked where its namespace points, or for all when even that is gone', () => {
  const cut = (n: number, from: string): Uint8Array => {
    const bytes = BSON.serialize({ ...insert(n, { _id: 1 }), marker: 1 });
    // A type that does not exist, in front of the named field.
    bytes[Buffer.from(bytes).indexOf(`${from}\0`) - 1] = 0x55;
    return bytes;
  };
  const of = plan([{}, { namespaces: ['other.*'] }]);
  const late = run(of, [cut(1, 'marker'), insert(2, { _id: 2 })]);
  assert.deepEqual(parkedOf(late), [[0, '1.0', 'shop.orders', 'undecodable']]);
  assert.deepEqual(late.parked[0]!.entry, new Uint8Array(cut(1, 'marker')));
  assert.equal(messages(late).length, 1);
  const early = run(of, [cut(1, 'op')]);
  assert.deepEqual(
    early.parked.map(({ subscription, reason }) => [subscription, reason]),
    [
      [0, 'undecodable'],
      [1, 'undecodable'],
    ],
  );
  // The id does not hang on where in which batch the entry was.
  assert.equal(early.parked[0]!.id, run(of, [insert(1, { _id: 1 }), cut(1, 'op')]).parked[0]!.id);
  assert.match(early.parked[0]!.id, /^shop:damaged\./);
});

test('an entry that is damaged in its last operation delivers none of them', () => {
  const bad = { op: 'i', ns: 'shop.orders', o: 'not a document' };
  const result = run(plan(), [applyOps(2, [operation(0), operation(1), bad], session)]);
  assert.equal(messages(result).length, 0);
  assert.deepEqual(parkedOf(result), [[0, '2.0', 'admin.$cmd', 'undecodable']]);
});

/** Fixed, so that a failure can be looked at. */
let state = 7;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
  return (state >>> 8) % below;
}

test('no damage inside an entry crashes, hangs, or spoils its neighbours', () => {
  const originals = [
    insert(5, { _id: 1, a: 'text', b: [1, { c: new Date() }], d: { e: Buffer.from('x'), f: /x/iu, g: null } }),
    entry(5, {
      op: 'u',
      o: { $v: 2, diff: { d: { s: false }, u: { t: 2 }, sarr: { a: true, l: 3, u0: 9, s2: { u: { k: 5 } } } } },
      o2: { _id: 1 },
    }),
    entry(5, { op: 'd', o: { _id: { a: 1 } } }),
    applyOps(5, [operation(0), operation(1)], { ...session, ...none }),
  ].map((one) => BSON.serialize(one));
  const of = plan([{}, { format: 'bson', maxEvents: 5 }, { format: 'json-canonical' }], {
    partitions: 4,
    partitionBy: [{ namespaces: ['*'], key: 'document' }],
  });
  const before = insert(4, { _id: 'before' });
  const after = insert(6, { _id: 'after' });
  for (let round = 0; round < 20_000; round++) {
    const bytes = originals[random(originals.length)]!.slice();
    // Everything but the entry's own length, which belongs to the batch's frame.
    for (let k = random(4); k >= 0; k--)
      bytes[4 + random(bytes.length - 5)] = random(3) === 0 ? random(256) : random(20);
    const result = run(of, [before, bytes, after]);
    for (const { body, events, first } of messages(result)) {
      assert.ok(events > 0);
      if (first[1] === 4 || first[1] === 6) assert.ok(Buffer.from(body).includes(first[1] === 4 ? 'before' : 'after'));
    }
    assert.ok(result.events.every((count) => count >= 2));
    for (const event of jsonEvents({ ...result, records: onlyJson(result) })) assert.ok(event['operationType']);
  }
});

/** The records of the two JSON subscriptions: lanes 0 … 3 and 8 … 11. */
function onlyJson(result: BatchResult): Uint32Array {
  const fields = result.records.length / Math.max(1, messages(result).length);
  const kept = messages(result).flatMap(({ lane }, k) =>
    lane < 4 || lane >= 8 ? [...result.records.subarray(k * fields, (k + 1) * fields)] : [],
  );
  return new Uint32Array(kept);
}

test('a batch that is cut or whose frame is damaged is refused as malformed, never misread', () => {
  const whole = batchOf([insert(1, { _id: 1 }), insert(2, { _id: 2 })]);
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => run(plan(), whole.slice(0, length)), MalformedBson);
  }
  for (let round = 0; round < 2000; round++) {
    const bytes = whole.slice();
    bytes[random(bytes.length)] = random(256);
    try {
      run(plan(), bytes);
    } catch (error) {
      assert.ok(error instanceof MalformedBson, String(error));
    }
  }
});
