import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { redact, withoutSecrets } from '../../src/config/redact.ts';

test('user, password and whatever option is not known to be harmless are hidden', () => {
  assert.equal(
    redact('mongodb://root:hunter2@db1:27017,db2/shop?replicaSet=rs0&tlsCertificateKeyFilePassword=hunter3'),
    'mongodb://(hidden)@db1:27017,db2/shop?replicaSet=rs0&tlsCertificateKeyFilePassword=(hidden)',
  );
  assert.equal(redact('amqps://guest:guest@broker/vhost?heartbeat=5'), 'amqps://(hidden)@broker/vhost?heartbeat=5');
  assert.equal(redact('amqp://broker'), 'amqp://broker');
});

test('a password with unescaped delimiters is hidden as well', () => {
  for (const password of ['a@b', 'a/b', 'a?b', 'a:b', 'a?b@c/d']) {
    assert.equal(redact(`mongodb://root:${password}@h/db`), 'mongodb://(hidden)@h/db');
  }
});

test('what is no URI is hidden altogether', () => {
  assert.equal(redact('hunter2'), '(hidden)');
  assert.equal(redact(''), '(hidden)');
});

test('no password shows, whatever it is made of', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.boolean(), (noise, encoded) => {
      const password = `S3cret${encoded ? encodeURIComponent(noise) : noise}S3cret`;
      assert.doesNotMatch(redact(`mongodb://root:${password}@h/?replicaSet=rs`), /S3cret/);
    }),
  );
});

test("a driver's message loses the URI and the password, encoded or not", () => {
  const uri = 'mongodb://root:p%40ss@h/?authMechanismProperties=AWS_SESSION_TOKEN:tok';
  assert.equal(
    withoutSecrets(`bad ${uri}; root:p%40ss, p%40ss or p@ss with AWS_SESSION_TOKEN:tok at h`, uri),
    'bad (hidden); (hidden), (hidden) or (hidden) with (hidden) at h',
  );
});
