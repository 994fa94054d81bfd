/** Requests that are none, or nearly: the server answers or hangs up, and answers the next sound one as if nothing had been. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startHttp } from '../../src/observe/http.ts';
import { sampleStatus } from '../observe/sample-status.ts';
import { noLog } from '../../src/library/no-log.ts';
import type { Random } from '../worker/damage.ts';
import type { Target } from './target.ts';

const REQUESTS = 20;
const PIECES = [
  ...'GET POST HEAD OPTIONS CONNECT TRACE PUT \0 get /metrics /healthz /readyz /status / // /../../etc/passwd /%00 * ?x #y'.split(
    ' ',
  ),
  ...'http://x:y@h/ /status?%% HTTP/1.1 HTTP/1.0 HTTP/9.9 HTTP/2.0'.split(' '),
  '\r\n',
  '\r\n\r\n',
  '\n',
  ' ',
  'Host: x\r\n',
  'Host: \u0000\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: -1\r\n',
  'Content-Length: 99999999999999999999\r\n',
  'Transfer-Encoding: chunked\r\n',
  'ffffffffffffffff\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: websocket\r\nConnection: Upgrade\r\n',
  `X: ${'y'.repeat(9_000)}\r\n`,
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\u0016\u0003\u0001\u0002',
];

function request(random: Random): Buffer {
  const path = random.of(['/metrics', '/healthz', '/readyz', '/status', '/nothing']);
  let text = `${random.of(['GET', 'HEAD', 'POST', 'GET'])} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(text.length + 1);
    text = text.slice(0, at) + random.of(PIECES) + text.slice(at + random.below(4));
  }
  return Buffer.from(text, 'latin1');
}

/** Ends when the server has answered and closed; what is still waited for behind the last byte ends with our own end. */
function send(port: number, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.end(bytes));
    socket.on('data', (chunk) => (said += chunk.toString('latin1')));
    socket.on('error', () => {});
    socket.on('close', () => resolve(said));
  });
}

export const httpTarget: Target = {
  name: 'HTTP requests',
  share: 1,
  async open() {
    const server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      handlers: {
        metrics: { contentType: 'text/plain', text: async () => 'fine 1\n' },
        liveness: () => [],
        readiness: () => [],
        status: () => sampleStatus,
      },
      log: noLog,
    });
    const port = Number(new URL(server.url).port);
    return {
      async round({ random }) {
        const answers = await Promise.all(Array.from({ length: REQUESTS }, () => send(port, request(random))));
        for (const answer of answers) {
          assert.match(answer, /^($|HTTP\/1\.1 (100|200|400|404|405|413|414|417|431|501|505) )/, answer.slice(0, 200));
        }
        const sound = await send(port, Buffer.from('GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
        assert.match(sound, /^HTTP\/1\.1 200 [^]*fine 1\n$/);
        // Sockets that are over give their ports back.
        await sleep(0);
        return REQUESTS;
      },
      [Symbol.asyncDispose]: () => server.close(),
    };
  },
};
