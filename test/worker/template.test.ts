import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decimal128, Double, Long, ObjectId, UUID } from 'bson';
import type { Document } from 'bson';
import { templateFaults, templateNames } from '../../src/worker/template.ts';
import { entry, insert, messages, plan, run } from './fixtures.ts';

const id = new ObjectId('6b02867ff153d8281a8c2fde');

function keyOf(routingKey: string, o: Document): string {
  const result = run(plan([{ routingKey }]), [insert(1, { _id: id, ...o }, 'shop.a.b')]);
  assert.deepEqual(result.parked, []);
  return messages(result)[0]!.key;
}

test('a key is made of what surrounds the event and of fields inside it', () => {
  assert.equal(
    keyOf('{source}/{subscription}/{db}/{coll}/{operationType}/{partition}', {}),
    'shop/orders/shop/a.b/insert/0',
  );
  assert.equal(keyOf('x.{fullDocument.a.b}.{documentKey._id}', { a: { b: 'y' } }), `x.y.${id.toHexString()}`);
  assert.equal(keyOf('plain', {}), 'plain');
  assert.equal(keyOf('', {}), '');
});

test('scalars are written as a person would, array elements by their number', () => {
  const o = {
    i: 5,
    l: Long.fromString('9007199254740993'),
    d: new Double(1.5),
    t: new Date('2026-11-22T06:06:55.756Z'),
    b: false,
    s: 'größe',
    m: Decimal128.fromString('1.20'),
    u: new UUID('3f2504e0-4f89-41d3-9a0c-0305e82c3301'),
    arr: ['zero', { x: 'one' }],
  };
  const template = 'i l d t b s m u arr.0 arr.1.x'.split(' ').map((name) => `{fullDocument.${name}}`);
  assert.equal(
    keyOf(template.join('|'), o),
    '5|9007199254740993|1.5|2026-11-22T06:06:55.756Z|false|größe|1.20|3f2504e0-4f89-41d3-9a0c-0305e82c3301|zero|one',
  );
});

test('a field that is missing, or is no scalar, parks the event and nothing else', () => {
  const result = run(plan([{ routingKey: 'k.{fullDocument.a}' }]), [
    insert(1, { _id: 1, a: 'x' }),
    insert(2, { _id: 2 }),
    insert(3, { _id: 3, a: { b: 1 } }),
    insert(4, { _id: 4, a: null }),
    entry(5, { op: 'd', o: { _id: 5 } }),
    insert(6, { _id: 6, a: 'y' }),
  ]);
  assert.deepEqual(
    messages(result).map(({ key }) => key),
    ['k.x', 'k.y'],
  );
  assert.deepEqual(
    result.parked.map((parked) => [parked.id, parked.reason]),
    [2, 3, 4, 5].map((i) => [`shop:1795327615.${i}.0`, 'missing-field']),
  );
  assert.match(result.parked[0]!.detail, /\{fullDocument\.a\}/);
});

test("a key longer than AMQP's 255 bytes parks the event, measured in UTF-8", () => {
  const result = run(plan([{ routingKey: '{fullDocument.a}' }]), [
    insert(1, { _id: 1, a: 'x'.repeat(255) }),
    insert(2, { _id: 2, a: 'x'.repeat(256) }),
    insert(3, { _id: 3, a: 'ö'.repeat(127) }),
    insert(4, { _id: 4, a: 'ö'.repeat(128) }),
  ]);
  assert.deepEqual(
    result.parked.map(({ id, reason }) => [id, reason]),
    [2, 4].map((i) => [`shop:1795327615.${i}.0`, 'routing-key-too-long']),
  );
  // One that never changes is too long for every event alike.
  const constant = run(plan([{ routingKey: 'x'.repeat(256) }]), [insert(1, { _id: 1 }), insert(2, { _id: 2 })]);
  assert.equal(constant.parked.length, 2);
});

test('a template with an unknown name or a lone brace is a fault of the file', () => {
  assert.deepEqual(templateNames('{db}.x.{documentKey._id}'), ['db', 'documentKey._id']);
  assert.deepEqual(templateFaults('{source}{subscription}{db}{coll}{operationType}{partition}{fullDocument.a.b}'), []);
  for (const wrong of [
    '{colection}',
    '{}',
    '{documentKey}',
    '{fullDocument.}',
    '{documentKey..a}',
    '{db',
    'db}',
    '{{db}}',
  ]) {
    assert.notDeepEqual(templateFaults(wrong), [], wrong);
  }
});
