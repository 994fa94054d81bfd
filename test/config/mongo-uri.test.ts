import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withAbsoluteFiles } from '../../src/config/mongo-uri.ts';

test('files that a MongoDB URI names are relative to the given folder, and nothing else of it is changed', () => {
  const of = (uri: string): string => withAbsoluteFiles(uri, '/etc/tailrace');
  const rest = 'mongodb://u:p%3F%26@h1,h2/db?replicaSet=rs0';
  assert.equal(of(`${rest}&tlsCAFile=ca.pem&w=1`), `${rest}&tlsCAFile=%2Fetc%2Ftailrace%2Fca.pem&w=1`);
  assert.equal(of('mongodb://h/?tlscafile=..%2Fca.pem'), 'mongodb://h/?tlscafile=%2Fetc%2Fca.pem');
  for (const uri of [rest, 'mongodb://h', `${rest}&tlsCertificateKeyFile=/abs/c.pem`, `${rest}&tlsCAFile=`]) {
    assert.equal(of(uri), uri);
  }
});
