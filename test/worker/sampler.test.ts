/** What watchers are shown of a batch: what its messages hold, chosen among all that they asked for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { EJSON, Timestamp } from 'bson';
import type { Seen, SubscriptionPlan, Watch } from '../../src/worker/protocol.ts';
import { batchOf, entry, insert, json, jsonEvents, messages, plan, run, START_SECONDS, text } from './fixtures.ts';

const all: Watch = { watcher: 1, most: 100 };

function seenOf(
  subscriptions: readonly Partial<SubscriptionPlan>[],
  entries: Parameters<typeof run>[1],
  watch: Watch = all,
): Seen {
  const { seen } = run(plan(subscriptions), entries, { watches: [watch] });
  assert.equal(seen?.length, 1);
  return seen[0]!;
}

const events = ({ samples }: Seen): unknown[] => samples.map(({ text: one }): unknown => JSON.parse(one));

test('without watchers a result says nothing of them', () => {
  assert.ok(!('seen' in run(plan(), [insert(1, { _id: 1 })])));
});

test('an event is shown as its message holds it, with where it goes', () => {
  const result = run(plan(), [insert(2, { _id: 1, a: 'ü' })], { watches: [all] });
  const [message] = messages(result);
  assert.deepEqual(result.seen, [
    {
      watcher: 1,
      matched: 1,
      samples: [
        {
          subscription: 'orders',
          number: 0,
          partition: 0,
          ns: 'shop.orders',
          operationType: 'insert',
          id: `shop:${START_SECONDS}.2.0`,
          routingKey: 'shop.orders.insert',
          headers: {},
          bytes: message!.body.length,
          text: text(message!.body),
          whole: true,
        },
      ],
    },
  ]);
});

test('a message of many events is shown as events, in the order of the oplog', () => {
  const entries = [3, 1, 2].map((i) => insert(i, { _id: i }, `shop.c${i % 2}`));
  const of = plan([{ maxEvents: 10, routingKey: 'k' }], { partitions: 4 });
  const result = run(of, entries, { watches: [all] });
  const shown = events(result.seen![0]!);
  assert.deepEqual(
    result.seen![0]!.samples.map(({ id }) => id),
    [1, 2, 3].map((i) => `shop:${START_SECONDS}.${i}.0`),
  );
  const sent = jsonEvents(result);
  assert.equal(sent.length, 3);
  for (const one of sent) assert.ok(shown.some((it) => JSON.stringify(it) === JSON.stringify(one)));
});

test('BSON is shown as relaxed Extended JSON', () => {
  const result = run(plan([{ format: 'bson', maxEvents: 2 }]), [insert(1, { _id: 1, at: new Date(5) })], {
    watches: [all],
  });
  const [shown] = events(result.seen![0]!);
  const inJson = run(plan(), [insert(1, { _id: 1, at: new Date(5) })]);
  assert.deepEqual(shown, json(messages(inJson)[0]!));
  assert.equal(result.seen![0]!.samples[0]!.bytes, messages(result)[0]!.body.length);
});

test('what is compressed is shown as it is before that', () => {
  const result = run(plan([{ compression: 'gzip' }]), [insert(1, { _id: 1 })], { watches: [all] });
  const [message] = messages(result);
  const [sample] = result.seen![0]!.samples;
  const plain = gunzipSync(message!.body);
  assert.equal(sample!.text, plain.toString());
  assert.equal(sample!.bytes, plain.length);
});

test('what a subscription hides is not shown, and headers are', () => {
  const craft = {
    mask: [{ kind: 'with', fields: ['ssn'], with: 'gone' }],
    headers: { coll: '{coll}' },
  } as unknown as NonNullable<SubscriptionPlan['craft']>;
  const result = run(plan([{ craft }]), [insert(1, { _id: 1, ssn: 'PRIVATE' })], { watches: [all] });
  const [sample] = result.seen![0]!.samples;
  assert.equal(sample!.text, text(messages(result)[0]!.body));
  assert.doesNotMatch(JSON.stringify(result.seen), /PRIVATE/);
  assert.deepEqual(sample!.headers, { coll: 'orders' });
});

test('filters look at every event: one among thousands is found, and all that match are counted', () => {
  const entries = Array.from({ length: 3_000 }, (_, i) => insert(i + 1, { _id: i }, `shop.c${i % 7}`));
  entries[2_345] = entry(2_346, { op: 'd', ns: 'shop.rare', o: { _id: 9 } });
  const two = [{ name: 'a' }, { name: 'b', operations: ['insert' as const] }];
  const found = (watch: Partial<Watch>): [matched: number, shown: string[]] => {
    const { matched, samples } = seenOf(two, entries, { ...all, most: 1, ...watch });
    return [matched, samples.map(({ subscription, ns, operationType }) => `${subscription} ${operationType} ${ns}`)];
  };
  assert.deepEqual(found({ namespaces: ['*.ra*'] }), [1, ['a delete shop.rare']]);
  assert.deepEqual(found({ operations: ['delete'] }), [1, ['a delete shop.rare']]);
  assert.deepEqual(found({ namespaces: ['shop.*', '!shop.c*'] }), [1, ['a delete shop.rare']]);
  assert.deepEqual(found({ subscriptions: ['b'], operations: ['delete'] }), [0, []]);
  assert.equal(found({ subscriptions: ['b'] })[0], 2_999);
  assert.equal(found({ subscriptions: ['a', 'b'] })[0], 5_999);
  assert.deepEqual(found({ most: 0 }), [5_999, []]);
});

test('where there are more than may be shown, each has the same chance', () => {
  const many = 4_000;
  const counts = new Uint32Array(8);
  let shown = 0;
  for (let batch = 0; batch < 50; batch++) {
    const entries = Array.from({ length: many }, (_, i) => insert(batch * many + i + 1, { _id: i }));
    const { matched, samples } = seenOf([{}], entries, { ...all, most: 8 });
    assert.equal(matched, many);
    assert.equal(samples.length, 8);
    assert.equal(new Set(samples.map(({ id }) => id)).size, 8);
    for (const { text: one } of samples) {
      const { documentKey } = JSON.parse(one) as { documentKey: { _id: number } };
      counts[Math.floor((documentKey._id * counts.length) / many)]! += 1;
      shown++;
    }
  }
  // 50 in each eighth on average, with a deviation of 7.
  for (const count of counts) assert.ok(count > 15 && count < 95, [...counts].join(' '));
  assert.equal(shown, 400);
});

test('the same batch shows the same, and a watcher that has gone is forgotten', () => {
  const of = plan();
  const bytes = batchOf(Array.from({ length: 500 }, (_, i) => insert(i + 1, { _id: i })));
  const once = run(of, bytes, { watches: [{ ...all, most: 3 }] }).seen;
  assert.ok(!('seen' in run(of, bytes)));
  assert.deepEqual(run(of, bytes, { watches: [{ ...all, most: 3 }] }).seen, once);
  const other = run(of, bytes, { watches: [{ watcher: 2, most: 3, namespaces: ['no.*'] }] }).seen;
  assert.deepEqual(other, [{ watcher: 2, matched: 0, samples: [] }]);
});

test('a large event is cut between characters, and all together stay small', () => {
  const large = 'é'.repeat(200_000);
  const [sample] = seenOf([{}], [insert(1, { _id: 'x', large })]).samples;
  assert.ok(!sample!.whole);
  assert.ok(Buffer.byteLength(sample!.text) <= 64 * 1024 && Buffer.byteLength(sample!.text) > 64 * 1024 - 3);
  assert.doesNotMatch(sample!.text, /\uFFFD/);
  assert.ok(sample!.bytes > 400_000);
  const [asBson] = seenOf([{ format: 'bson' }], [insert(1, { _id: 'x', large })]).samples;
  assert.deepEqual([asBson!.text, asBson!.whole], ['', false]);
  const [cutBson] = seenOf([{ format: 'bson' }], [insert(1, { _id: 'x', large: 'é'.repeat(60_000) })]).samples;
  assert.ok(!cutBson!.whole && cutBson!.text.startsWith('{"_id":'));
  const many = Array.from({ length: 50 }, (_, i) => insert(i + 1, { _id: i, large }));
  const { matched, samples } = seenOf([{}], many);
  assert.equal(matched, 50);
  const characters = samples.reduce((sum, { text: one }) => sum + one.length, 0);
  assert.ok(samples.length > 1 && characters <= 512 * 1024, `${samples.length} of ${characters}`);
});

test('what is no operation on a document is shown as well', () => {
  const drop = entry(4, { op: 'c', ns: 'shop.$cmd', o: { drop: 'orders' } });
  const { samples } = seenOf([{ operations: ['insert', 'drop'], format: 'bson' }], [insert(3, { _id: 1 }), drop], {
    ...all,
    operations: ['drop'],
    namespaces: ['shop.orders'],
  });
  assert.equal(samples.length, 1);
  const event = EJSON.parse(samples[0]!.text, { relaxed: true }) as { clusterTime: Timestamp };
  assert.deepEqual(event.clusterTime, new Timestamp({ t: START_SECONDS, i: 4 }));
});
