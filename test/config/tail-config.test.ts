import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tailConfig } from '../../src/config/tail-config.ts';
import { UserError } from '../../src/errors.ts';

const OPTIONS = { uri: 'mongodb://root:hunter2@h', namespaces: [], from: 'latest', format: 'json' };

test('tail reads a change stream where it is told to', () => {
  const [source] = tailConfig({ ...OPTIONS, mode: 'changeStream', watch: 'shop' }).sources;
  assert.equal(source?.mode, 'changeStream');
  assert.equal(source.changeStream?.watch, 'shop');
  for (const faulty of [
    { mode: 'both' },
    { mode: 'changeStream', from: 'earliest' },
    { mode: 'changeStream', watch: '$shop' },
    { mode: 'changeStream', transactions: true },
    { operations: ['upsert'] },
    { operations: [] },
  ]) {
    assert.throws(() => tailConfig({ ...OPTIONS, ...faulty }), UserError);
  }
});

test('tail reads everything of one source, to standard output, in one order', () => {
  const config = tailConfig(OPTIONS);
  assert.deepEqual(config.sources, [
    { name: 'tail', uri: OPTIONS.uri, mode: 'oplog', start: { kind: 'latest' }, onPositionLost: 'stop' },
  ]);
  assert.deepEqual(config.sinks, []);
  assert.equal(config.subscriptions.length, 1);
  assert.deepEqual(config.subscriptions[0]?.namespaces, ['*']);
  assert.deepEqual(config.subscriptions[0]?.to, { kind: 'stdout' });
  assert.equal(config.pipeline.partitions, 1);
  assert.equal(config.http, undefined);
});

test('patterns narrow it down; with exclusions alone it is everything else', () => {
  const namespaces = (given: string[]) => tailConfig({ ...OPTIONS, namespaces: given }).subscriptions[0]?.namespaces;
  assert.deepEqual(namespaces(['shop.*', '!shop.tmp']), ['shop.*', '!shop.tmp']);
  assert.deepEqual(namespaces(['!shop.tmp']), ['*', '!shop.tmp']);
});

test('what cannot be used is bad usage, and no message holds the URI', () => {
  for (const wrong of [
    { uri: 'http://root:hunter2@h' },
    { from: 'never' },
    { format: 'xml' },
    { namespaces: ['shop'] },
  ]) {
    assert.throws(
      () => tailConfig({ ...OPTIONS, ...wrong }),
      (error) => error instanceof UserError && error.code === 'usage' && !error.message.includes('hunter2'),
    );
  }
});
