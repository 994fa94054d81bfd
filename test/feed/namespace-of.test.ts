import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namespaceOf } from '../../src/feed/namespace-of.ts';

const of = (body: string, { events = 1, isPlain = true } = {}): string =>
  namespaceOf({ body: Buffer.from(body), events }, isPlain);

test('the namespace of one event is told, of several or of what cannot be read none is', () => {
  const event = '{"_id":"a:1.1.0","ns":{"db":"shop","coll":"orders"}}\n';
  assert.equal(of(event), 'shop.orders');
  assert.equal(of('{"ns":{"db":"shop"}}'), 'shop');
  assert.equal(of(`{"specversion":"1.0","data":${event}}`), 'shop.orders');
  assert.equal(of(event, { events: 2 }), '');
  assert.equal(of(event, { isPlain: false }), '');
  assert.equal(of(event + event), '');
  assert.equal(of('{"fullDocument":{"ns":{"db":"a","coll":"b"}}}'), '');
  assert.equal(of('{"ns":"shop.orders"}'), '');
  assert.equal(of(`{"ns":{"db":"shop","coll":"orders"},"x":"${'x'.repeat(100_000)}"}`), '');
});
