import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SubscriptionConfig } from '../../src/config/config.ts';
import { layoutHash, routingHash, usesPartitionQueues } from '../../src/config/routing-hash.ts';

const LAYOUT = { partitions: 16, partitionBy: [] };
const SUBSCRIPTION: SubscriptionConfig = {
  name: 'orders',
  source: 'shop',
  namespaces: ['shop.*'],
  operations: ['insert', 'update'],
  expanded: false,
  transactions: false,
  format: 'json',
  batch: { maxEvents: 1, maxBytes: 65_536, lingerMs: 0 },
  order: 'pipelined',
  onUnroutable: 'hold',
  to: { kind: 'queue', sink: 'rabbit', queue: 'orders.{partition}', queueType: 'classic', queueArguments: {} },
};

test('the hashes stay what they were: they are in stores on disk', () => {
  assert.equal(routingHash(SUBSCRIPTION, LAYOUT), 'b84c9adf60cd65fe');
  assert.equal(layoutHash(LAYOUT), '174fc596e7078854');
});

test('whatever decides which event goes where changes the routing hash', () => {
  const before = routingHash(SUBSCRIPTION, LAYOUT);
  const others = [
    routingHash(SUBSCRIPTION, { ...LAYOUT, partitions: 8 }),
    routingHash(SUBSCRIPTION, { ...LAYOUT, partitionBy: [{ namespaces: ['shop.*'], key: 'document' }] }),
    routingHash({ ...SUBSCRIPTION, namespaces: ['shop.orders'] }, LAYOUT),
    routingHash({ ...SUBSCRIPTION, operations: ['insert'] }, LAYOUT),
    routingHash({ ...SUBSCRIPTION, to: { kind: 'stdout' } }, LAYOUT),
    routingHash({ ...SUBSCRIPTION, to: { kind: 'file', path: '/a' } }, LAYOUT),
    routingHash({ ...SUBSCRIPTION, to: { kind: 'file', path: '/b' } }, LAYOUT),
  ];
  assert.equal(new Set([before, ...others]).size, others.length + 1);
});

test('what moves no event changes no hash', () => {
  const before = routingHash(SUBSCRIPTION, LAYOUT);
  assert.equal(routingHash({ ...SUBSCRIPTION, operations: ['update', 'insert'] }, LAYOUT), before);
  assert.equal(routingHash({ ...SUBSCRIPTION, order: 'strict', format: 'bson', onUnroutable: 'park' }, LAYOUT), before);
  assert.equal(routingHash({ ...SUBSCRIPTION, batch: { maxEvents: 9, maxBytes: 1, lingerMs: 1 } }, LAYOUT), before);
});

test('the layout hash is of partitions and partitionBy alone', () => {
  assert.notEqual(layoutHash(LAYOUT), layoutHash({ ...LAYOUT, partitions: 17 }));
  assert.notEqual(layoutHash(LAYOUT), layoutHash({ ...LAYOUT, partitionBy: [{ namespaces: ['*'], key: 'document' }] }));
});

test('a destination that carries {partition} is recognised in a queue and in a routing key', () => {
  assert.equal(usesPartitionQueues(SUBSCRIPTION), true);
  const exchange = { kind: 'exchange', sink: 'rabbit', exchange: 'changes', queues: [] } as const;
  assert.equal(usesPartitionQueues({ ...SUBSCRIPTION, to: { ...exchange, routingKey: '{db}.{partition}' } }), true);
  assert.equal(usesPartitionQueues({ ...SUBSCRIPTION, to: { ...exchange, routingKey: '{db}' } }), false);
  assert.equal(usesPartitionQueues({ ...SUBSCRIPTION, to: { kind: 'stdout' } }), false);
});
