import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import { test } from 'node:test';
import { tlsTrouble } from '../src/tls-trouble.ts';

/** The number of each alert in TLS, and the names that it has had in OpenSSL 3.0 and 3.5. */
const ALERTS = [
  [40, 'client-wanted', ['SSLV3_ALERT_HANDSHAKE_FAILURE', 'SSL/TLS_ALERT_HANDSHAKE_FAILURE']],
  [42, 'client-refused', ['SSLV3_ALERT_BAD_CERTIFICATE', 'SSL/TLS_ALERT_BAD_CERTIFICATE']],
  [43, 'client-refused', ['SSLV3_ALERT_UNSUPPORTED_CERTIFICATE', 'SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE']],
  [44, 'client-refused', ['SSLV3_ALERT_CERTIFICATE_REVOKED', 'SSL/TLS_ALERT_CERTIFICATE_REVOKED']],
  [45, 'client-refused', ['SSLV3_ALERT_CERTIFICATE_EXPIRED', 'SSL/TLS_ALERT_CERTIFICATE_EXPIRED']],
  [46, 'client-refused', ['SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'SSL/TLS_ALERT_CERTIFICATE_UNKNOWN']],
  [48, 'client-refused', ['TLSV1_ALERT_UNKNOWN_CA']],
  [51, 'client-refused', ['TLSV1_ALERT_DECRYPT_ERROR']],
  [70, 'no-tls', ['TLSV1_ALERT_PROTOCOL_VERSION']],
  [116, 'client-wanted', ['TLSV13_ALERT_CERTIFICATE_REQUIRED']],
] as const;

const withCode = (code: string): Error => Object.assign(new Error('said by OpenSSL'), { code });

test('an alert is known by the name that it has in each version of OpenSSL', () => {
  for (const [, trouble, names] of ALERTS) {
    for (const name of names) assert.equal(tlsTrouble(withCode(`ERR_SSL_${name}`)), trouble, name);
  }
  assert.equal(tlsTrouble(withCode('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR')), undefined);
  assert.equal(tlsTrouble(withCode('ERR_SSL_SSL/TLS_ALERT_BAD_RECORD_MAC')), undefined);
});

/** What the Node that runs this makes of a server that answers our first bytes with `answer`. */
async function failureAt(answer: Buffer): Promise<unknown> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const error = await new Promise((resolve) => socket.once('error', resolve));
  server.close();
  return error;
}

test('an alert that is really sent is known, and so is a port that speaks plain AMQP, by the codes of the Node that runs', async () => {
  for (const [number, trouble] of ALERTS) {
    const fatal = Buffer.from([21, 3, 3, 0, 2, 2, number]);
    const error = await failureAt(fatal);
    assert.equal(tlsTrouble(new Error('a driver', { cause: error })), trouble, String(error));
  }
  const error = await failureAt(Buffer.from('AMQP\0\0\u0009\u0001', 'latin1'));
  assert.equal(tlsTrouble(error), 'no-tls', String(error));
  assert.equal(tlsTrouble(withCode('ERR_SSL_PACKET_LENGTH_TOO_LONG')), 'no-tls');
});
