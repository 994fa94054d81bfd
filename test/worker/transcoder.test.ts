import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { BSON, Binary, Double, Long, ObjectId } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import { useTranscoder } from '../../src/worker/encode-batch.ts';
import type { BatchResult, WorkerPlan } from '../../src/worker/protocol.ts';
import { textWords } from '../../src/worker/output.ts';
import { Router } from '../../src/worker/route.ts';
import { ROW_FIELDS } from '../../src/worker/rows.ts';
import { BatchScan } from '../../src/worker/scan.ts';
import { GAVE_UP, Transcoder } from '../../src/worker/transcoder.ts';
import { MODULE, compile } from '../../wasm/compile.ts';
import { document, fieldName, value } from './arbitraries.ts';
import { batchOf, entry, insert, plan, run } from './fixtures.ts';
import { inJavaScript, sameResult } from './hostile.ts';

const formats = plan([
  { format: 'json' },
  { format: 'json-canonical' },
  { format: 'bson' },
  { format: 'json', expanded: true },
  { format: 'bson', expanded: true, maxEvents: 3 },
]);
const job = { serverVersion: 600 };
const order = {
  _id: new ObjectId(),
  total: new Double(12.5),
  third: 1 / 3,
  created: new Date(),
  note: 'leave it at the door, please: "Grüezi"\n',
  items: [{ sku: 'a', n: 1 }],
  photo: new Binary(Buffer.from('photo')),
  large: Long.fromString('9007199254740993'),
};

/** What the module has made of a batch is what JavaScript makes of it. */
function assertSameInJavaScript(result: BatchResult, of: WorkerPlan, batch: Uint8Array): void {
  assert.ok(
    sameResult(
      result,
      inJavaScript(() => run(of, batch, job)),
    ),
  );
}

const diff: fc.Arbitrary<Document> = fc.letrec<{ diff: Document; fields: Document; array: Document }>((tie) => ({
  fields: fc.dictionary(fieldName, value, { maxKeys: 4 }),
  diff: fc
    .record(
      { d: fc.dictionary(fieldName, fc.constant(false), { maxKeys: 3 }), u: tie('fields'), i: tie('fields') },
      { requiredKeys: [] },
    )
    .chain((sections) =>
      fc
        .dictionary(
          fieldName.map((name) => `s${name}`),
          fc.oneof({ maxDepth: 3, depthSize: 'small' }, fc.constant({ u: { x: 1 } }), tie('diff'), tie('array')),
          { maxKeys: 2 },
        )
        .map((inside) => ({ ...sections, ...inside })),
    ),
  array: fc
    .tuple(fc.nat(99), fc.array(fc.tuple(fc.nat(20), value), { maxLength: 3 }), fc.boolean())
    .map(([length, places, cut]) => ({
      a: true,
      ...(cut && { l: length }),
      ...Object.fromEntries(places.map(([at, one]) => [`u${at}`, one])),
    })),
})).diff;

test('the module and JavaScript write the same bytes, whatever a document holds', () => {
  fc.assert(
    fc.property(document, value, diff, fc.boolean(), (o, id, changes, withKey) => {
      const key = { _id: id };
      const whole = { ...key, ...o };
      const entries = [
        entry(1, { op: 'i', o: whole, ...(withKey && { o2: key }) }),
        entry(2, { op: 'u', o: { $v: 2, diff: changes }, o2: key }),
        entry(3, { op: 'u', o: whole, o2: key }),
        entry(4, { op: 'd', o: key }),
      ];
      const batch = batchOf(entries);
      const one = run(formats, batch, job);
      assert.equal(one.parked.filter(({ reason }) => reason !== 'undecodable').length, 0);
      assertSameInJavaScript(one, formats, batch);
    }),
    { numRuns: 3_000 },
  );
});

test('operations of a transaction are the same from both', () => {
  const lsid = { id: new Binary(Buffer.alloc(16, 3), 4), uid: new Binary(Buffer.alloc(32, 5)) };
  const operations = [
    { op: 'i', ns: 'shop.orders', ui: new Binary(Buffer.alloc(16, 7), 4), o: order, o2: { _id: order._id } },
    { op: 'd', ns: 'shop.orders', ui: new Binary(Buffer.alloc(16, 7), 4), o: { _id: order._id } },
  ];
  const commit = { op: 'c', ns: 'admin.$cmd', lsid, txnNumber: Long.fromInt(7), o: { applyOps: operations } };
  const batch = batchOf([entry(1, commit)]);
  const one = run(formats, batch, job);
  assert.equal(
    one.events.reduce((sum, count) => sum + count),
    10,
  );
  assertSameInJavaScript(one, formats, batch);
});

test('the module writes what is ordinary itself, and is asked again after what it gave up on', () => {
  const transcoder = new Transcoder(64 * 1024);
  const usual = useTranscoder(transcoder);
  try {
    run(formats, [insert(1, order), entry(2, { op: 'd', o: { _id: 1 } })], job);
    assert.equal(transcoder.gaveUp, 0);
    const broken = new Uint8Array(BSON.serialize(insert(2, { ...order, flag: true })));
    const flag = Buffer.from(broken).indexOf('flag');
    broken[flag + 5] = 2;
    const result = run(formats, [broken, insert(3, order)], job);
    assert.equal(transcoder.gaveUp, 5);
    assert.deepEqual([result.parked.length, ...result.events], [5, 1, 1, 1, 1, 1]);
  } finally {
    useTranscoder(usual);
  }
});

test('what the module gives up on for want of room, it writes for the next subscription', () => {
  const transcoder = new Transcoder(1024);
  const usual = useTranscoder(transcoder);
  // Of numbers, which take ten times as much in the first format: the second one finds room.
  const diff = { slist: { a: true, u0: Array.from({ length: 100_000 }, () => 1) } };
  try {
    const of = plan([{ format: 'json-canonical' }, { format: 'json' }]);
    run(of, [entry(1, { op: 'u', o: { $v: 2, diff }, o2: { _id: 1 } })], job);
    assert.equal(transcoder.gaveUp, 1);
  } finally {
    useTranscoder(usual);
  }
});

test('the module sees the end of its memory coming, whatever is to be written there', () => {
  const nested = (levels: number, inner: unknown): unknown =>
    levels === 0 ? inner : nested(levels - 1, levels % 2 === 0 ? [inner] : { n: inner });
  const deep = nested(490, new Date(-1e15));
  const id = nested(490, 1);
  const entries = [
    insert(1, { _id: id, deep }),
    entry(2, { op: 'u', o: { $v: 2, diff: { u: { deep }, slist: { a: true, u0: deep } } }, o2: { _id: id } }),
  ];
  const batch = batchOf(entries);
  const router = new Router(formats);
  const scan = new BatchScan(router);
  scan.scan({ bytes: batch, wallTime: true, ...job });
  const { operations, routes } = scan.rows;
  const transcoder = new Transcoder(1);
  transcoder.begin(batch, textWords('shop:'));
  const room = transcoder.bytes.length;
  let written = 0;
  for (const { format } of router.subscriptions) {
    for (let row = 0; row < entries.length * ROW_FIELDS; row += ROW_FIELDS) {
      for (let pos = room - 20_000; pos < room; pos += 7) {
        if (transcoder.write(format, pos, operations, row, routes[0]!, true, true) !== GAVE_UP) written++;
      }
    }
  }
  assert.ok(written > 0 && transcoder.gaveUp > 0);
  assert.equal(transcoder.trapped, 0);
});

test('a batch far larger than the ones before, and events larger than the room there is, are the same from both', () => {
  const transcoder = new Transcoder(1024);
  const usual = useTranscoder(transcoder);
  try {
    for (const megabytes of [0.1, 3, 15, 0.1]) {
      const blob = new Binary(Buffer.alloc(megabytes * 2 ** 20, 'x'));
      const batch = batchOf([
        insert(1, { _id: 1, blob }),
        insert(2, { _id: 2, note: 'é'.repeat(megabytes * 2 ** 19) }),
      ]);
      const limits = plan([{ maxMessageBytes: 2 ** 26 }, { maxMessageBytes: 2 ** 26, format: 'bson' }]);
      const one = run(limits, batch, job);
      assert.deepEqual([...one.events], [2, 2]);
      assertSameInJavaScript(one, limits, batch);
    }
  } finally {
    useTranscoder(usual);
  }
});

test('after memory was refused to a large batch, or to a large event, the next ones are as they should be', (t) => {
  const transcoder = new Transcoder(4 * 2 ** 20);
  const usual = useTranscoder(transcoder);
  const small = batchOf([insert(3, order), insert(4, order)]);
  const expected = inJavaScript(() => run(formats, small, job));
  const refused = (): never => {
    throw new RangeError('Unable to grow instance memory');
  };
  // Each of these bytes becomes six.
  const large = (megabytes: number): Document => insert(2, { _id: 2, note: '\u0001'.repeat(megabytes * 2 ** 20) });
  try {
    for (const entries of [[large(0.9)], [large(3)]]) {
      useTranscoder(transcoder);
      run(formats, [insert(1, { _id: 1 })], job);
      t.mock.method(WebAssembly.Memory.prototype, 'grow', refused, { times: 1 });
      assert.throws(() => run(formats, entries, job), /instance memory/);
      assert.ok(useTranscoder(transcoder) !== transcoder, 'what threw is not used for the next batch');
      assert.ok(sameResult(run(formats, small, job), expected), 'and could be');
    }
  } finally {
    useTranscoder(usual);
  }
});

test('more than can be addressed is refused, and what is near it is written', () => {
  // With as little as this instead of 2 GiB; half as much again is no longer there for the second batch.
  const most = 4 * 2 ** 20;
  const of = plan([{}, {}]);
  const batch = (megabytes: number): Uint8Array =>
    batchOf([insert(1, { _id: 1, note: 'x'.repeat(megabytes * 2 ** 20) })]);
  for (const module of [true, false]) {
    const transcoder = new Transcoder(1024, { module, most });
    const usual = useTranscoder(transcoder);
    try {
      for (const megabytes of [0.5, 0.9]) {
        const one = run(of, batch(megabytes), job);
        assertSameInJavaScript(one, of, batch(megabytes));
        assert.ok(transcoder.size > one.bodies.length && transcoder.size <= most);
      }
      assert.throws(() => run(of, batch(2.1), job), /fewer entries fit/);
    } finally {
      useTranscoder(usual);
    }
  }
});

test("what an update's paths may take does not depend on who writes them, nor on what was written before", () => {
  /** So many paths below one of 3,990 bytes: 16,400 are 64 MiB. */
  const paths = (count: number, inside: (names: string[]) => Document): Uint8Array => {
    let one = inside(Array.from({ length: count }, (_, k) => `name_${10_000 + k}`));
    for (let k = 0; k < 190; k++) one = { [`s${'n'.repeat(20)}`]: one };
    return batchOf([entry(1, { op: 'u', o: { $v: 2, diff: one }, o2: { _id: 1 } })]);
  };
  const fields = (names: string[]): Document => ({ u: Object.fromEntries(names.map((name) => [name, 1])) });
  const sections = (names: string[]): Document => Object.fromEntries(names.map((name) => [`s${name}`, {}]));
  const of = plan([{ maxMessageBytes: 2 ** 27 }]);
  const usual = useTranscoder(new Transcoder(2 ** 27));
  try {
    for (const [count, delivered] of [
      [16_300, 1],
      [17_000, 0],
    ] as const) {
      for (const inside of [fields, sections]) {
        const batch = paths(count, inside);
        const one = run(of, batch, job);
        assert.equal(one.events[0], delivered, `${count} ${inside.name}`);
        assertSameInJavaScript(one, of, batch);
      }
    }
  } finally {
    useTranscoder(usual);
  }
});

test('namespaces without end do not fill the memory', () => {
  const entries = Array.from({ length: 3_000 }, (_, k) => insert(k + 1, { _id: k }, `shop.${'c'.repeat(200)}_${k}`));
  const batch = batchOf(entries);
  assertSameInJavaScript(run(formats, batch, job), formats, batch);
});

test('the committed module is what its source compiles to', async () => {
  assert.ok((await readFile(MODULE, 'utf8')) === (await compile()), 'it is not: npm run wasm');
});
