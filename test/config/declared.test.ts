import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../../src/config/load.ts';

test('what was declared is kept as it was written: long forms, placeholders, and no secret that was written out', async () => {
  const { declared } = await readConfig(
    {
      sources: { a: { uri: 'mongodb://u:${PASSWORD}@h/?replicaSet=rs&tlsCertificateKeyFilePassword=S3CRET' } },
      sinks: { mq: { uri: '${AMQP}', tls: { ca: 'ca.pem', passphrase: 'S3CRET' }, window: '${WINDOW}' } },
      subscriptions: [
        {
          name: '${NAME}',
          namespaces: ['x.*'],
          mask: [
            { fields: ['a'], hash: { key: 'S3CRET-S3CRET-S3CRET', encoding: 'base64' } },
            { fields: ['b'], hash: { key: '${KEY}' } },
            { fields: ['c'], with: 'gone' },
          ],
          to: 'stdout',
        },
      ],
      http: { token: 'S3CRET-S3CRET-S3CRET' },
    },
    { PASSWORD: 'S3CRET', AMQP: 'amqps://u:S3CRET@h', WINDOW: '8', NAME: 'out', KEY: 'S3CRET-of-more-than-16' },
  );
  assert.deepEqual(declared, {
    sources: { a: { uri: 'mongodb://(hidden)@h/?replicaSet=rs&tlsCertificateKeyFilePassword=(hidden)' } },
    sinks: { mq: { uri: '${AMQP}', tls: { ca: 'ca.pem', passphrase: '(hidden)' }, window: '${WINDOW}' } },
    subscriptions: {
      out: {
        name: '${NAME}',
        namespaces: ['x.*'],
        mask: [
          { fields: ['a'], hash: { key: '(hidden)', encoding: 'base64' } },
          { fields: ['b'], hash: { key: '${KEY}' } },
          { fields: ['c'], with: 'gone' },
        ],
        to: { stdout: true },
      },
    },
  });
});
