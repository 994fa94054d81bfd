import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences, hiddenIn, withOne, withSecrets } from '../../src/config/definitions.ts';
import { shownSecretless } from '../../src/config/declared.ts';

const NONE = { sources: {}, sinks: {}, subscriptions: {} };

test('differences name the settings, and no value', () => {
  const before = {
    sources: { a: { uri: 'mongodb://u:S3CRET@h' } },
    sinks: { mq: { uri: 'amqp://h' } },
    subscriptions: { one: { namespaces: ['x.*'], to: { queue: 'q' } } },
  };
  const after = {
    sources: { a: { uri: 'mongodb://u:OTHER@h' }, b: { uri: 'mongodb://h' } },
    sinks: {},
    subscriptions: { one: { namespaces: ['x.*', 'y.*'], to: { queue: 'q', queueType: 'quorum' } } },
  };
  const found = differences(before, after);
  assert.deepEqual(found, [
    { kind: 'source', name: 'a', change: 'changed', settings: ['uri'] },
    { kind: 'source', name: 'b', change: 'added', settings: [] },
    { kind: 'sink', name: 'mq', change: 'removed', settings: [] },
    { kind: 'subscription', name: 'one', change: 'changed', settings: ['namespaces', 'to.queueType'] },
  ]);
  assert.doesNotMatch(JSON.stringify(found), /S3CRET|OTHER/);
  assert.deepEqual(differences(after, structuredClone(after)), []);
});

test('one is added, changed in its place, and removed', () => {
  const two = withOne(withOne(NONE, 'sink', 'a', { uri: 1 }), 'sink', 'b', { uri: 2 });
  assert.deepEqual(Object.keys(withOne(two, 'sink', 'a', { uri: 3 }).sinks), ['a', 'b']);
  assert.deepEqual(withOne(two, 'sink', 'a', undefined).sinks, { b: { uri: 2 } });
});

test('what was hidden stands for the secret that was there, wherever it has moved to, and for nothing else', () => {
  const before = {
    uri: 'amqp://u:S3CRET@h',
    mask: [
      { fields: ['a'], hash: { key: 'KEY-A', encoding: 'hex' } },
      { fields: ['b'], hash: { key: 'KEY-B', encoding: 'hex' } },
    ],
  };
  const shown = shownSecretless(before) as typeof before;
  assert.doesNotMatch(JSON.stringify(shown), /S3CRET|KEY/);
  assert.deepEqual(withSecrets(shown, before), before);
  // Another host is another URI: nobody knows what would be sent there.
  const elsewhere = withSecrets({ ...shown, uri: shown.uri.replace('@h', '@other') }, before);
  assert.deepEqual(hiddenIn(elsewhere), ['uri']);
  assert.deepEqual(withSecrets({ ...shown, mask: [shown.mask[1]] }, before), { ...before, mask: [before.mask[1]] });
  const first = { fields: ['c'], hash: { key: 'KEY-C', encoding: 'hex' } };
  const longer = withSecrets({ ...shown, mask: [first, ...shown.mask] }, before);
  assert.deepEqual(longer, { ...before, mask: [first, ...before.mask] });
  const changed = { fields: ['a'], hash: { key: '(hidden)', encoding: 'base64' } };
  assert.deepEqual(withSecrets({ ...shown, mask: [changed] }, before), {
    ...before,
    mask: [{ fields: ['a'], hash: { key: 'KEY-A', encoding: 'base64' } }],
  });
  assert.deepEqual(hiddenIn(withSecrets({ mask: [{ fields: ['z'], hash: { key: '(hidden)' } }] }, before)), [
    'mask',
    0,
    'hash',
    'key',
  ]);
  assert.equal(hiddenIn(before), undefined);
});
