import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ObjectId } from 'bson';
import { judge } from '../../../bench/demo/verdict.ts';
import type { Delivered } from '../../../bench/demo/verdict.ts';
import type { Written } from '../../../bench/demo/workload.ts';

const order = new ObjectId('6b02867ff153d8281a8c2fde');
const written: Written[] = [
  { ns: 'shop.orders', id: order, operation: 'insert', rev: 0 },
  { ns: 'shop.carts', id: 7, operation: 'insert', rev: 0 },
  { ns: 'shop.orders', id: order, operation: 'update', rev: 1 },
  { ns: 'shop.orders', id: order, operation: 'replace', rev: 2 },
  { ns: 'shop.orders', id: order, operation: 'delete', rev: 2 },
];

function event(increment: number, { ns, operation, rev }: Written): Delivered {
  const [db = '', coll = ''] = ns.split('.');
  const _id = coll === 'orders' ? { $oid: order.toHexString() } : 7;
  const body = {
    _id: `shop:100.${increment}.0`,
    operationType: operation,
    ns: { db, coll },
    documentKey: { _id },
    ...(operation === 'insert' || operation === 'replace' ? { fullDocument: { _id, rev } } : {}),
    ...(operation === 'update' ? { updateDescription: { updatedFields: { rev } } } : {}),
  };
  return { body: JSON.stringify(body), routingKey: '' };
}

/** Increments of two digits too, so that ids compared as text would fall. */
const delivered = written.map((change, place) => event(8 + place, change));

test('everything delivered once in order holds, whatever order collections have among each other', () => {
  assert.equal(judge(written, delivered).held, true);
  const [first, cart, ...rest] = delivered;
  assert.ok(first !== undefined && cart !== undefined);
  assert.equal(judge(written, [first, ...rest, cart]).held, true);
});

test('a change that did not arrive is missing', () => {
  const verdict = judge(written, delivered.toSpliced(3, 1));
  assert.equal(verdict.held, false);
  assert.deepEqual(
    verdict.tallies.map(({ ns, missing }) => [ns, missing]),
    [
      ['shop.carts', 0],
      ['shop.orders', 1],
    ],
  );
});

test('two changes of one collection the other way round are out of order', () => {
  const [first, cart, update, replace, remove] = delivered;
  assert.ok(first && cart && update && replace && remove);
  const verdict = judge(written, [first, cart, replace, update, remove]);
  assert.equal(verdict.held, false);
  assert.equal(verdict.tallies[1]?.outOfOrder, 1);
  assert.equal(verdict.fallingIds, 1);
});

test('repeats are counted and do no harm, even out of order', () => {
  const [first] = delivered;
  assert.ok(first);
  const verdict = judge(written, [...delivered, first]);
  assert.equal(verdict.held, true);
  assert.equal(verdict.repeats, 1);
});

test('a change that was never written, or came under two ids, is a stranger', () => {
  const stranger = event(50, { ns: 'shop.orders', id: order, operation: 'update', rev: 9 });
  assert.equal(judge(written, [...delivered, stranger]).strangers, 1);
  const twin = event(51, { ns: 'shop.orders', id: order, operation: 'delete', rev: 2 });
  assert.equal(judge(written, [...delivered, twin]).held, false);
});

test('nothing written proves nothing', () => {
  assert.equal(judge([], []).held, false);
});
