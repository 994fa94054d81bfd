/** What the API takes and answers about definitions: good, bad and unauthorised, as its document says. What they do is in test/engine/online.test.ts. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EngineFolder } from '../harness/engine-process.ts';
import { untilReading } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { ApiUnderTest } from './fixtures.ts';
import type { Verb } from '../../src/api/endpoint.ts';

const TOKEN = 'a-token-of-tests-1234567890';
const DB = 'api-definitions';

interface Call {
  readonly template: string;
  readonly path?: string;
  readonly method: Verb;
  readonly body?: object;
}

describe('the API of definitions', () => {
  const servers = useSharedServers();
  let place: EngineFolder;
  let api: ApiUnderTest;
  const subscription = (queue: string): object => ({
    namespaces: [`${DB}.*`],
    to: { sink: 'mq', queue },
    source: 'src',
  });

  before(async () => {
    place = await EngineFolder.create({
      management: 'online',
      http: { listen: '127.0.0.1:0', token: TOKEN },
      sources: { src: { uri: servers.mongo.uri } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [{ name: 'one', ...subscription(`${DB}-one`) }],
    });
    const engine = place.start();
    await untilReading(engine);
    api = await ApiUnderTest.of(engine, TOKEN);
  });
  after(async () => place?.[Symbol.asyncDispose]());

  const sink = (): object => ({
    uri: servers.rabbit.uri.replace('//', '//guest:guest@').replace('guest:guest@guest:guest@', 'guest:guest@'),
  });
  const whole = (): object => ({
    sources: { src: { uri: servers.mongo.uri } },
    sinks: { mq: { uri: servers.rabbit.uri } },
    subscriptions: [{ name: 'one', ...subscription(`${DB}-one`) }],
  });

  /** In this order each is good, and the last leave what was there at first. */
  const calls = (): readonly Call[] => [
    { template: '/definitions', method: 'get' },
    {
      template: '/definitions/check',
      method: 'post',
      body: { kind: 'sink', name: 'x', configuration: { uri: 'http://x' } },
    },
    { template: '/definitions/plan', method: 'post', body: whole() },
    {
      template: '/sources',
      method: 'post',
      body: { name: 'more', configuration: { uri: servers.mongo.uri }, by: 'me' },
    },
    {
      template: '/sources/{name}',
      path: '/sources/more',
      method: 'put',
      body: { configuration: { uri: servers.mongo.uri, start: 'earliest' } },
    },
    { template: '/sinks', method: 'post', body: { name: 'more', configuration: sink() } },
    {
      template: '/sinks/{name}',
      path: '/sinks/more',
      method: 'put',
      body: { configuration: { ...sink(), window: 7 } },
    },
    {
      template: '/subscriptions',
      method: 'post',
      body: { name: 'more', configuration: subscription(`${DB}-more`), start: 'latest' },
    },
    {
      template: '/subscriptions/{name}',
      path: '/subscriptions/more',
      method: 'put',
      body: { configuration: { ...subscription(`${DB}-more`), format: 'bson' } },
    },
    { template: '/definitions/versions', method: 'get' },
    { template: '/definitions/versions/{number}', path: '/definitions/versions/2', method: 'get' },
    { template: '/subscriptions/{name}', path: '/subscriptions/more', method: 'delete' },
    { template: '/sinks/{name}', path: '/sinks/more?by=me', method: 'delete' },
    { template: '/sources/{name}', path: '/sources/more', method: 'delete' },
    { template: '/definitions/apply', method: 'post', body: whole() },
    { template: '/definitions/versions/{number}/restore', path: '/definitions/versions/1/restore', method: 'post' },
  ];

  test('each endpoint takes and answers what the document says', async () => {
    const mine = Object.entries(api.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(
          ([method]) =>
            path.startsWith('/definitions') ||
            (method !== 'get' && /^\/(?:sources|sinks|subscriptions)(?:\/\{name\})?$/.test(path)),
        )
        .map(([method]) => `${method} ${path}`),
    );
    assert.deepEqual(
      mine.toSorted(),
      [...new Set(calls().map(({ method, template }) => `${method} ${template}`))].toSorted(),
    );
    for (const { template, path = template, method, body } of calls()) {
      await api.good(template, path, method, body);
    }
    const { versions } = await api.good<{ versions: readonly { by: string; changes: readonly object[] }[] }>(
      '/definitions/versions',
    );
    assert.deepEqual(versions.at(-2), {
      number: 2,
      at: (versions.at(-2) as unknown as { at: string }).at,
      by: 'me',
      cause: 'change',
      from: null,
      changes: [{ kind: 'source', name: 'more', change: 'added', settings: [] }],
    });
  });

  test('nobody gets through without the token, from another site, or with what is not known', async () => {
    for (const { template, path = template, method, body } of calls()) {
      const ask = async (at: string, headers = {}, sent: unknown = body) =>
        api.ask(at, { method, body: sent, headers });
      api.assertProblem(template, await ask(path, { Authorization: 'Bearer wrong' }), 'api-unauthorized', method);
      if (method !== 'get') {
        const elsewhere = await ask(path, { Origin: 'https://elsewhere.example' });
        api.assertProblem(template, elsewhere, 'api-cross-site', method);
      }
      api.assertProblem('', await ask(`${path.split('?')[0]}?nonsense=1`), 'api-bad-request');
      if (body) {
        const more = await ask(path, {}, { ...body, nonsense: 1 });
        api.assertProblem(template, more, 'api-bad-request', method);
        assert.match(JSON.stringify(more.body), /body\.nonsense/);
      }
    }
  });

  test('faults say where they are and what is expected; a secret that was hidden stays what it is', async () => {
    const check = async (kind: string, name: string, configuration: object): Promise<object> =>
      api.good('/definitions/check', '/definitions/check', 'post', { kind, name, configuration });
    assert.deepEqual(await check('subscription', 'two', { namespaces: [], to: { queue: 'a', sinc: 'mq' } }), {
      faults: [
        { path: 'namespaces', expected: 'found an empty list; expected at least one pattern' },
        { path: 'to.sinc', expected: 'found an unknown key "sinc"; did you mean sink?' },
      ],
    });
    assert.deepEqual(await check('subscription', 'two', subscription(`${DB}-two`)), { faults: [] });
    // What others need is said as well.
    assert.match(JSON.stringify(await check('sink', 'mq', { uri: 'redis://x' })), /amqp/);

    for (const [path, configuration] of [
      ['/sinks', sink()],
      ['/subscriptions', subscription(`${DB}-two`)],
    ] as const) {
      const named = await api.ask(path, { method: 'post', body: { name: 'é', configuration } });
      assert.match(JSON.stringify(named.body), /"path":"body\.name","expected":"a name of letters/);
    }

    await api.good('/sinks', '/sinks', 'post', { name: 'secret', configuration: sink() });
    const shown = await api.good<{ configuration: { uri: string } }>('/sinks/{name}', '/sinks/secret');
    assert.match(shown.configuration.uri, /\(hidden\)@/);
    const configuration = { ...shown.configuration, window: 9 };
    await api.good('/sinks/{name}', '/sinks/secret', 'put', { configuration });
    const { changes } = await api.good<{ changes: readonly object[] }>('/sinks/{name}', '/sinks/secret', 'delete');
    assert.deepEqual(changes, [{ kind: 'sink', name: 'secret', change: 'removed', settings: [] }]);
  });
});
