import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noLog } from '../../src/library/no-log.ts';
import type { Coded } from '../../src/observe/log.ts';
import { ParkedLog } from '../../src/observe/parked-log.ts';
import type { ParkReason } from '../../src/worker/protocol.ts';

test('of a subscription and reason the first event is told at once, then how many came since, and a stop tells the rest', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: string[] = [];
  const error = (fields: Coded): void => {
    lines.push([fields.code, fields['subscription'], fields['id'] ?? fields['events']].join(' '));
  };
  const told = new ParkedLog({ ...noLog, error });
  const park = (subscription: string, reason: ParkReason, id: string, events = 1): void =>
    told.parked({ subscription, reason, id, ns: 'a.b', detail: '' }, events);
  park('orders', 'missing-field', '1');
  for (let id = 2; id <= 1_000; id++) park('orders', 'missing-field', String(id));
  park('orders', 'too-large', '1001', 2);
  park('items', 'missing-field', '1002');
  assert.deepEqual(lines.splice(0), [
    'parked-missing-field orders 1',
    'parked-too-large orders 1001',
    'parked-missing-field items 1002',
  ]);
  t.mock.timers.tick(9_999);
  assert.deepEqual(lines.splice(0), []);
  t.mock.timers.tick(1);
  assert.deepEqual(lines.splice(0), ['parked-missing-field orders 999']);
  park('orders', 'missing-field', '1003', 3);
  told.close();
  assert.deepEqual(lines.splice(0), ['parked-missing-field orders 3']);
  // None came for a while: the next is the first again.
  park('orders', 'missing-field', '1004');
  t.mock.timers.tick(10_000);
  park('orders', 'missing-field', '1005');
  assert.deepEqual(lines.splice(0), ['parked-missing-field orders 1004', 'parked-missing-field orders 1005']);
  told.close();
});
