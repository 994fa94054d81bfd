import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readConfig } from '../../src/config/load.ts';
import { UserError } from '../../src/errors.ts';
import { startHttp } from '../../src/observe/http.ts';
import type { Reason } from '../../src/observe/health.ts';
import type { HttpHandlers, HttpServer } from '../../src/observe/http.ts';
import type { Log } from '../../src/observe/log.ts';
import { sampleStatus } from './sample-status.ts';

interface Line {
  readonly level: string;
  readonly fields: unknown;
  readonly message: string | undefined;
}

/** Keeps what was logged, for tests that look at it. */
function recordingLog(lines: Line[]): Log {
  const at =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      lines.push({ level, fields, message });
    };
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') };
}

const wellHandlers: HttpHandlers = {
  metrics: { contentType: 'text/plain; version=0.0.4; charset=utf-8', text: async () => 'tailrace_ready 1\n' },
  liveness: () => [],
  readiness: () => [],
  status: () => sampleStatus,
};

async function serve(t: TestContext, handlers: Partial<HttpHandlers> = {}, lines: Line[] = []): Promise<HttpServer> {
  const server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    handlers: { ...wellHandlers, ...handlers },
    log: recordingLog(lines),
  });
  t.after(() => server.close());
  return server;
}

test('port 0 picks a port, and the log tells which', async (t) => {
  const lines: Line[] = [];
  const { url } = await serve(t, {}, lines);
  assert.match(url, /^http:\/\/127\.0\.0\.1:[1-9]\d+$/);
  assert.deepEqual(lines, [{ level: 'info', fields: { url }, message: 'HTTP is listening.' }]);
});

test('/metrics is the text as it was given, with its content type', async (t) => {
  const { url } = await serve(t);
  const response = await fetch(`${url}/metrics`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(await response.text(), 'tailrace_ready 1\n');
});

test('/readyz and /healthz answer 200 without reasons and 503 with all of them, each by its own', async (t) => {
  let unready: Reason[] = [];
  let stuck: Reason[] = [];
  const { url } = await serve(t, { readiness: () => unready, liveness: () => stuck });
  const ask = async (path: string): Promise<[number, unknown]> => {
    const response = await fetch(url + path);
    return [response.status, await response.json()];
  };
  assert.deepEqual(await ask('/readyz'), [200, { ok: true, reasons: [], codes: [] }]);
  assert.deepEqual(await ask('/healthz'), [200, { ok: true, reasons: [], codes: [] }]);
  unready = ['one', 'two'].map((text) => ({ code: 'sink-away', text }));
  assert.deepEqual(await ask('/readyz'), [503, { ok: false, reasons: ['one', 'two'], codes: ['sink-away'] }]);
  assert.deepEqual(await ask('/healthz'), [200, { ok: true, reasons: [], codes: [] }]);
  unready = [];
  stuck = [{ code: 'workers-stuck', text: 'three' }];
  assert.deepEqual(await ask('/readyz'), [200, { ok: true, reasons: [], codes: [] }]);
  assert.deepEqual(await ask('/healthz'), [503, { ok: false, reasons: ['three'], codes: ['workers-stuck'] }]);
});

test('/status is the report as JSON, with null for what is not known', async (t) => {
  const { url } = await serve(t);
  const response = await fetch(`${url}/status?pretty`);
  assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
  assert.deepEqual(await response.json(), sampleStatus);
});

test('no answer may be cached or taken for another type', async (t) => {
  const { url } = await serve(t);
  for (const path of ['/metrics', '/healthz', '/readyz', '/status', '/nothing']) {
    const { headers } = await fetch(url + path);
    assert.equal(headers.get('cache-control'), 'no-store', path);
    assert.equal(headers.get('x-content-type-options'), 'nosniff', path);
  }
});

test('no answer holds a secret of the configuration; keys and the names of metrics stay, whatever the secret is', async (t) => {
  const secrets = ['S3CRET-of-http', 'tailrace', 'reasons'];
  // What is read is kept in mind.
  await readConfig(
    {
      sources: { src: { uri: `mongodb://u:${secrets[0]}@h/?replicaSet=rs` } },
      sinks: { mq: { uri: `amqp://u:${secrets[1]}@h` }, other: { uri: `amqp://u:${secrets[2]}@h` } },
      subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'q', sink: 'mq' } }],
    },
    {},
  );
  const said = `a driver said ${secrets[0]} to mongodb://u:unknown@h/`;
  const reasons: Reason[] = [{ code: 'sink-away', text: said }];
  const { url } = await serve(t, {
    readiness: () => reasons,
    liveness: () => reasons,
    status: () => ({ ...sampleStatus, trouble: said }),
    metrics: {
      ...wellHandlers.metrics,
      text: async () => `# HELP tailrace_ready Ready.\ntailrace_ready{le="0.1",reason="${said}"} 1\n`,
    },
  });
  for (const path of ['/metrics', '/healthz', '/readyz', '/status']) {
    const text = await (await fetch(url + path)).text();
    assert.match(text, /a driver said \(hidden\) to mongodb:\/\/\(hidden\)@h\//, path);
    assert.doesNotMatch(text, /S3CRET|unknown@/, path);
  }
  assert.match(await (await fetch(`${url}/metrics`)).text(), /^# HELP tailrace_ready .*\ntailrace_ready\{le="0\.1"/);
  assert.ok('reasons' in ((await (await fetch(`${url}/readyz`)).json()) as object));
});

test('HEAD answers as GET does, without the body', async (t) => {
  const { url } = await serve(t, { readiness: () => [{ code: 'sink-away', text: 'away' }] });
  for (const path of ['/metrics', '/readyz']) {
    const get = await fetch(url + path);
    const head = await fetch(url + path, { method: 'HEAD' });
    assert.equal(head.status, get.status);
    assert.equal(head.headers.get('content-length'), String((await get.arrayBuffer()).byteLength));
    assert.equal(await head.text(), '');
  }
});

test('another path is 404 and lists what there is; another method is 405 and says which are allowed', async (t) => {
  const { url } = await serve(t);
  for (const path of ['/metrics/', '/Metrics', '//status']) {
    assert.equal((await fetch(url + path)).status, 404, path);
  }
  const missing: unknown = await (await fetch(`${url}/nothing`)).json();
  assert.deepEqual(missing, { error: 'not found', paths: ['/metrics', '/healthz', '/readyz', '/status', '/console/'] });
  const posted = await fetch(`${url}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) });
  assert.equal(posted.status, 405);
  assert.equal(posted.headers.get('allow'), 'GET, HEAD');
});

test('an answer that fails is a 500 without details and a warning in the log; the next one is served', async (t) => {
  const lines: Line[] = [];
  const { url } = await serve(
    t,
    {
      status: () => {
        throw new Error('secret detail');
      },
    },
    lines,
  );
  const failed = await fetch(`${url}/status`);
  assert.equal(failed.status, 500);
  assert.doesNotMatch(await failed.text(), /secret/);
  assert.deepEqual(
    lines.map(({ level }) => level),
    ['info', 'warn'],
  );
  assert.equal((await fetch(`${url}/metrics`)).status, 200);
});

test('a port in use is a user error that says what to do', async (t) => {
  const { url } = await serve(t);
  const port = Number(new URL(url).port);
  await assert.rejects(
    startHttp({ host: '127.0.0.1', port, handlers: wellHandlers, log: recordingLog([]) }),
    (error) =>
      error instanceof UserError &&
      error.code === 'port-in-use' &&
      error.message.includes(`127.0.0.1:${port}`) &&
      error.message.includes('choose another port'),
  );
});

test('an address that is not of this machine is a fault of the configuration', async () => {
  await assert.rejects(
    startHttp({ host: '192.0.2.1', port: 0, handlers: wellHandlers, log: recordingLog([]) }),
    (error) => error instanceof UserError && error.code === 'config-invalid' && error.message.includes('192.0.2.1'),
  );
});

test('an IPv6 address is written so that the URL can be asked', async (t) => {
  const ipv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
  if (!ipv6) {
    t.skip('this machine has no IPv6');
    return;
  }
  const server = await startHttp({ host: '::1', port: 0, handlers: wellHandlers, log: recordingLog([]) });
  t.after(() => server.close());
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
});

test('closing does not wait for a client that keeps its connection, nor for ever for one that never finishes', async () => {
  const server = await startHttp({ host: '127.0.0.1', port: 0, handlers: wellHandlers, log: recordingLog([]) });
  const agent = new Agent({ keepAlive: true });
  const asked = request(`${server.url}/healthz`, { agent }).end();
  const [response] = await once(asked, 'response');
  response.resume();
  await once(response, 'end');
  const idleStart = performance.now();
  await server.close();
  assert.ok(performance.now() - idleStart < 500, 'an idle connection is closed at once');
  agent.destroy();

  const second = await startHttp({ host: '127.0.0.1', port: 0, handlers: wellHandlers, log: recordingLog([]) });
  const half = connect(Number(new URL(second.url).port), '127.0.0.1');
  half.on('error', () => {});
  await once(half, 'connect');
  half.write('GET /metrics HTTP/1.1\r\nHost: x\r\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const stuckStart = performance.now();
  await second.close();
  assert.ok(performance.now() - stuckStart < 3_000, 'a half-sent request is cut after its grace');
  half.destroy();
});

test('an answer that is under way when closing begins still arrives', async () => {
  let release = (): void => {};
  const server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    handlers: {
      ...wellHandlers,
      metrics: {
        contentType: 'text/plain',
        text: () =>
          new Promise((resolve) => {
            release = () => resolve('done');
          }),
      },
    },
    log: recordingLog([]),
  });
  const answer = fetch(`${server.url}/metrics`).then((response) => response.text());
  await new Promise((resolve) => setTimeout(resolve, 100));
  const closing = server.close();
  release();
  assert.equal(await answer, 'done');
  await closing;
});
