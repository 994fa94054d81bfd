import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenTransactions } from '../../src/feed/open-transactions.ts';
import type { OpTime } from '../../src/source/position.ts';

const at = (increment: number): OpTime => ({ ts: { seconds: 7, increment }, t: 1 });

test('the bound is the entry before the oldest open transaction', () => {
  const open = new OpenTransactions();
  assert.equal(open.bound(at(9)), undefined);
  open.opened('a', at(3), true);
  open.opened('b', at(5), true);
  open.opened('a', at(6), false);
  assert.deepEqual(open.bound(at(9)), at(3));
  open.aborted('a');
  assert.deepEqual(open.bound(at(9)), at(5));
});

test('one that has taken effect counts until the subscription has delivered it', () => {
  const open = new OpenTransactions();
  open.opened('a', at(3), true);
  open.committed('a', at(8));
  assert.deepEqual(open.bound(undefined), at(3));
  assert.deepEqual(open.bound(at(7)), at(3));
  assert.equal(open.bound(at(8)), undefined);
  open.forget([at(8), at(7)]);
  assert.deepEqual(open.bound(at(7)), at(3));
  open.forget([at(8), at(9)]);
  assert.equal(open.bound(at(7)), undefined);
});

test('a session that begins another transaction has given up the one before, unless that is still being delivered', () => {
  const open = new OpenTransactions();
  open.opened('a', at(3), true);
  open.opened('a', at(5), true);
  assert.deepEqual(open.bound(at(9)), at(5));
  open.committed('a', at(10));
  open.opened('a', at(11), true);
  assert.deepEqual(open.bound(at(9)), at(5));
  assert.deepEqual(open.bound(at(12)), at(11));
});
