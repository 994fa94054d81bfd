/** Requests that are none, or nearly: the server answers or hangs up, and answers the next sound one as if nothing had been. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createApi, endpoints } from '../../src/api/app.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { ParkingStore } from '../../src/checkpoint/parking.ts';
import { loadFile } from '../../src/config/load.ts';
import { NotNowError } from '../../src/errors.ts';
import { ParkedWork } from '../../src/replay/parked-work.ts';
import { startHttp } from '../../src/observe/http.ts';
import { thingEndpoints } from '../api/thing-endpoints.ts';
import { sampleStatus } from '../observe/sample-status.ts';
import { Management } from '../../src/library/management.ts';
import { noLog } from '../../src/library/no-log.ts';
import { Watchers } from '../../src/watch/watchers.ts';
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
  'Origin: http://x\r\n',
  ...'/api/v1/ /api/v1/parked/ ?limit=1 &limit=-1 &reason=%ff ?from=x&from=y __proto__ %2e%2e'.split(' '),
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

const PATHS = [
  '/metrics',
  '/healthz',
  '/readyz',
  '/status',
  '/nothing',
  '/api/v1/openapi.json',
  '/api/v1/docs',
  '/api/v1/codes',
  '/api/v1/subscriptions',
  '/api/v1/sources/shop',
  '/api/v1/sinks/rabbit',
  '/api/v1/checkpoint',
  '/api/v1/subscriptions/orders/pause',
  '/api/v1/parked?limit=3',
  '/api/v1/events?subscription=orders&ns=a.*&ns=!a.c&op=insert&perSecond=9',
];
const CONFIG = `
sources: { shop: { uri: "mongodb://nowhere.invalid/?replicaSet=rs" } }
sinks: { rabbit: { uri: "amqp://nowhere.invalid" } }
subscriptions: [{ name: orders, namespaces: ["a.b"], to: { queue: q } }]
`;

const BODY_PIECES = [...'{ } [ ] , : " \\ \0 \u00ff null 1e9 -0'.split(' '), 'x'.repeat(70_000), '['.repeat(9_000)];
const BODY_PATHS = ['/api/v1/things', '/api/v1/things/a', '/api/v1/parked/drop'];
const BODIES = [
  '{"reason":"too-large","dryRun":true}',
  '{"name":"a","size":1,"tags":["x","y"]}',
  '{"size":2}',
  '[]',
  '',
  '{"__proto__":{}}',
  '"\\ud800"',
  '1e999',
];

function request(random: Random): Buffer {
  return random.below(3) === 0 ? requestWithBody(random) : requestWithout(random);
}

/** Damaged in its body only: the rest shall reach those that check it. */
function requestWithBody(random: Random): Buffer {
  let body = random.of(BODIES);
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(body.length + 1);
    body = body.slice(0, at) + random.of(BODY_PIECES) + body.slice(at + random.below(4));
  }
  const bytes = Buffer.from(body, 'latin1');
  const type = random.of(['application/json', 'application/json', 'application/json;charset=x', 'text/plain', '']);
  const head =
    `${random.of(['POST', 'PUT', 'PATCH', 'DELETE'])} ${random.of(BODY_PATHS)} HTTP/1.1\r\nHost: localhost\r\n` +
    `Connection: close\r\nContent-Type: ${type}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), bytes]);
}

function requestWithout(random: Random): Buffer {
  const path = random.of(PATHS);
  let text = `${random.of(['GET', 'HEAD', 'POST', 'GET'])} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(text.length + 1);
    text = text.slice(0, at) + random.of(PIECES) + text.slice(at + random.below(4));
  }
  return Buffer.from(text, 'latin1');
}

/** Ends when the server has answered and closed; what is still waited for behind the last byte ends with our own end. */
function send(port: number, bytes: Buffer, from = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const socket = connect({ port, host: '127.0.0.1', localAddress: from }, () => socket.end(bytes));
    socket.on('data', (chunk) => (said += chunk.toString('latin1')));
    socket.on('error', () => {});
    socket.on('close', () => resolve(said));
  });
}

export const httpTarget: Target = {
  name: 'HTTP requests',
  share: 1,
  async open() {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-fuzz-'));
    const path = join(folder, 'data');
    await writeFile(join(folder, 'tailrace.yaml'), CONFIG);
    const loaded = await loadFile(join(folder, 'tailrace.yaml'), {});
    const checkpoints = await CheckpointStore.open({ path, log: noLog });
    const { management, config } = await Management.open({ loaded, env: {}, checkpoints, log: noLog });
    const parking = await ParkingStore.open({ path, maxBytes: config.parked.maxBytes, log: noLog });
    const streamPort = (): never => {
      throw new Error('nothing is sent');
    };
    const parkedWork = new ParkedWork({ config: () => config, store: parking, streamPort });
    const stores = { checkpoints, parking };
    const said = { liveness: () => [], readiness: () => [], status: () => sampleStatus };
    const watchers = new Watchers();
    const move = async (): Promise<never> => {
      throw new NotNowError('nothing is read');
    };
    const nothing = async (): Promise<void> => undefined;
    const server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      handlers: {
        metrics: { contentType: 'text/plain', text: async () => 'fine 1\n' },
        ...said,
        api: async () =>
          createApi(
            {
              config,
              management,
              ...said,
              ...stores,
              watchers,
              pause: nothing,
              resume: nothing,
              move,
              addSnapshot: move,
              setSnapshot: nothing,
              parkedWork,
            },
            noLog,
            [...endpoints, ...thingEndpoints()],
          ),
      },
      log: noLog,
    });
    const port = Number(new URL(server.url).port);
    return {
      async round({ random }) {
        const answers = await Promise.all(
          // Each address may ask so often and no more.
          Array.from({ length: REQUESTS }, () => send(port, request(random), `127.0.0.${2 + random.below(250)}`)),
        );
        for (const answer of answers) {
          assert.match(
            answer,
            /^($|HTTP\/1\.1 (100|200|201|302|304|400|403|404|405|413|414|415|417|429|431|501|503|505) )/,
            answer.slice(0, 200),
          );
        }
        const sound = await send(port, Buffer.from('GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
        assert.match(sound, /^HTTP\/1\.1 200 [^]*fine 1\n$/);
        // Sockets that are over give their ports back.
        await sleep(0);
        return REQUESTS;
      },
      async [Symbol.asyncDispose]() {
        watchers.close();
        await server.close();
        await parkedWork[Symbol.asyncDispose]();
        await parking.close();
        await checkpoints.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
};
