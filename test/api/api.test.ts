/** The API of a running engine between real servers: what it answers, to whom, and that it is what its document says. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { OpenAPIClientAxios } from 'openapi-client-axios';
import type { Document } from 'openapi-client-axios';
import { Long } from 'mongodb';
import { CODES } from '../../src/codes.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { untilReading } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { ApiUnderTest } from './fixtures.ts';

const TOKEN = 'a-token-of-tests-1234567890';
const DB = 'api-test';
/** None of the documents has that field. */
const parking = (exchange: string): object => ({ exchange, routingKey: '{fullDocument.absent}' });

interface Subscription {
  readonly name: string;
  readonly source: string;
  readonly sink: string | null;
  readonly configuration: Record<string, unknown>;
  readonly status: {
    readonly state: string;
    readonly lagSeconds: number | null;
    readonly headroomSeconds: number | null;
    readonly unconfirmed: number;
    readonly holds: readonly { readonly reason: string; readonly detail: string; readonly lanes: number }[];
    readonly lanes: readonly { readonly partition: number; readonly held?: { readonly reason: string } }[];
  };
}

describe('the API', () => {
  const servers = useSharedServers();
  let place: EngineFolder;
  let engine: EngineProcess;
  let api: ApiUnderTest;

  before(async () => {
    place = await EngineFolder.create({
      sources: {
        src: { uri: '${TEST_MONGODB}' },
        spare: { uri: 'mongodb://me:S3CRET-literal@nowhere.invalid/?replicaSet=rs' },
      },
      sinks: { mq: { uri: '${TEST_AMQP}', window: '${TEST_WINDOW}', declare: true } },
      subscriptions: [
        { name: 'good', source: 'src', namespaces: [`${DB}.*`], to: { queue: `${DB}-good` } },
        {
          name: 'stuck',
          source: 'src',
          namespaces: [`${DB}.*`],
          mask: [{ fields: ['ssn'], hash: { key: 'S3CRET-key-of-a-hash-0123' } }],
          to: { exchange: `${DB}-nobody` },
        },
        { name: 'out', source: 'src', namespaces: [`${DB}.*`], to: 'stdout' },
        // What it parks are entries, events and messages.
        { name: 'p-entries', source: 'src', namespaces: [`${DB}.*`], to: parking(`${DB}-entries`) },
        {
          name: 'p-events',
          source: 'src',
          namespaces: [`${DB}.*`],
          mask: [{ fields: ['ssn'], with: 'gone' }],
          to: parking(`${DB}-events`),
        },
        {
          name: 'p-messages',
          source: 'src',
          namespaces: [`${DB}.*`],
          onUnroutable: 'park',
          to: { exchange: `${DB}-messages` },
        },
      ],
      pipeline: { partitions: 4 },
      http: { listen: '127.0.0.1:0', token: '${TEST_TOKEN}' },
    });
    const { mongo, rabbit } = servers;
    // For the engine, and for commands beside it.
    Object.assign(process.env, {
      TEST_MONGODB: mongo.uri,
      TEST_AMQP: rabbit.uri,
      TEST_WINDOW: '16',
      TEST_TOKEN: TOKEN,
    });
    engine = place.start();
    api = await ApiUnderTest.of(engine, TOKEN);
    await until('it reads', async () => {
      const { subscriptions } = await api.good<{ subscriptions: readonly Subscription[] }>('/subscriptions');
      return subscriptions.every(({ status }) => status.state === 'flowing');
    });
    const collection = servers.client.db(DB).collection<{ _id: number; ssn: string; n: Long }>('c');
    await collection.insertMany([1, 2, 3].map((_id) => ({ _id, ssn: 'PRIVATE', n: Long.fromInt(_id) })));
    await servers.client.withSession(async (session) =>
      session.withTransaction(async () => {
        await collection.insertOne({ _id: 4, ssn: 'PRIVATE', n: Long.fromInt(4) }, { session });
        await collection.insertOne({ _id: 5, ssn: 'PRIVATE', n: Long.fromInt(5) }, { session });
      }),
    );
    await until('five are parked for each of three', async () => (await parked('limit=500')).length === 15);
    GOOD['/parked/{id}'] = `/parked/${(await parked('limit=1'))[0]!.id}`;
  });
  after(async () => place?.[Symbol.asyncDispose]());

  const parked = async (query: string): Promise<readonly Parked[]> =>
    (await api.good<ParkedPage>('/parked', `/parked?${query}`)).parked;

  /** A path that is there, for each one of the document. */
  const GOOD: Record<string, string> = {
    '/sources': '/sources',
    '/sources/{name}': '/sources/src',
    '/sinks': '/sinks',
    '/sinks/{name}': '/sinks/mq',
    '/subscriptions': '/subscriptions',
    '/subscriptions/{name}': '/subscriptions/good',
    '/snapshots': '/snapshots',
    '/checkpoint': '/checkpoint',
    '/parked': '/parked',
    '/health': '/health',
    '/codes': '/codes',
    '/codes/{code}': '/codes/held-unroutable',
  };

  /** Each has a test of its own. */
  const CHANGES = [
    '/subscriptions/{name}/move',
    '/subscriptions/{name}/pause',
    '/subscriptions/{name}/resume',
    '/snapshots/{id}/pause',
    '/snapshots/{id}/resume',
    '/snapshots/{id}/cancel',
    '/parked/replay',
    '/parked/drop',
    '/sources/test',
    '/sinks/test',
    '/subscriptions/preview',
  ];

  /** Tried in a file of its own: its answer goes on. */
  const STREAMS = ['/events'];

  test('the document is valid OpenAPI, and each endpoint of it is tried here', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(api.document));
    assert.ok(valid, JSON.stringify(errors));
    // Those of definitions are in a test of their own.
    const paths = Object.keys(api.document.paths).filter((path) => !path.startsWith('/definitions'));
    assert.deepEqual([...Object.keys(GOOD), ...CHANGES, ...STREAMS].toSorted(), paths.toSorted());
  });

  test('each endpoint answers a good call as its schema says, to HEAD without the body', async () => {
    for (const [template, path] of Object.entries(GOOD)) {
      await api.good(template, path);
      const head = await api.ask(path, { method: 'HEAD' });
      assert.deepEqual([head.status, head.body], [200, ''], path);
    }
  });

  test('each endpoint refuses a bad call: a parameter that there is not, another method', async () => {
    for (const [template, path] of Object.entries(GOOD)) {
      const bad = await api.ask(`${path}?nonsense=1`);
      assert.equal(bad.status, 400, path);
      api.assertProblem('', bad, 'api-bad-request');
      assert.match(JSON.stringify(bad.body), /query\.nonsense/);
      const patched = await api.ask(path, { method: 'PATCH', body: '{' });
      assert.equal(patched.status, 405, path);
      const others = Object.keys(api.document.paths[template]!).filter((method) => method !== 'get');
      assert.equal(
        patched.headers.get('allow'),
        ['GET', 'HEAD', ...others.map((method) => method.toUpperCase())].join(', '),
      );
      api.assertProblem('', patched, 'api-method');
      if (!template.includes('{')) continue;
      const missing = await api.ask(template.replace(/\{\w+\}/, 'nobody'));
      assert.equal(missing.status, 404, path);
      api.assertProblem(template, missing, 'api-not-found');
    }
    api.assertProblem('', await api.ask('/nothing'), 'api-not-found');
    assert.equal((await api.ask('/sources/%ZZ')).status, 400);
  });

  test('each endpoint refuses who has no token or another one; probes and metrics need none, and the document tells nothing', async () => {
    for (const [template, path] of Object.entries(GOOD)) {
      for (const authorization of ['', 'Bearer wrong-token-wrong-token', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`]) {
        const refused = await api.ask(path, { headers: { Authorization: authorization } });
        assert.equal(refused.status, 401, `${path} ${authorization}`);
        api.assertProblem(template, refused, 'api-unauthorized');
        assert.match(refused.headers.get('www-authenticate') ?? '', /^Bearer/);
      }
    }
    const url = await engine.url();
    const statusOf = async (path: string): Promise<number> => (await fetch(url + path)).status;
    for (const path of ['/healthz', '/metrics', '/api/v1/openapi.json']) assert.equal(await statusOf(path), 200, path);
    assert.notEqual(await statusOf('/readyz'), 401);
    assert.equal(await statusOf('/status'), 401);
    assert.equal((await fetch(`${url}/status`, { headers: { Authorization: `Bearer ${TOKEN}` } })).status, 200);
  });

  test('a subscription is paused and resumed, by whom is allowed to, as its schema says', async () => {
    for (const [template, state] of [
      ['/subscriptions/{name}/pause', 'paused'],
      ['/subscriptions/{name}/resume', 'flowing'],
    ] as const) {
      const path = template.replace('{name}', 'good');
      const seen = await api.ask(path);
      assert.deepEqual([seen.status, seen.headers.get('allow')], [405, 'POST']);
      const post = async (at: string, headers = {}) => api.ask(at, { method: 'POST', headers });
      api.assertProblem(template, await post(template.replace('{name}', 'nobody')), 'api-not-found');
      api.assertProblem(template, await post(path, { Authorization: '' }), 'api-unauthorized');
      api.assertProblem(template, await post(path, { Origin: 'https://elsewhere.example' }), 'api-cross-site');
      assert.equal((await post(`${path}?nonsense=1`)).status, 400);
      assert.equal((await api.good<Subscription>(template, path, 'post')).status.state, state);
      // Twice is once.
      assert.equal((await api.good<Subscription>(template, path, 'post')).status.state, state);
    }
  });

  test('configuration is shown as it was declared, without what was filled in and without secrets', async () => {
    const { sources } = await api.good<{
      sources: readonly { name: string; configuration: object; status: unknown }[];
    }>('/sources');
    assert.deepEqual(
      sources.map(({ name, configuration }) => ({ name, configuration })),
      [
        { name: 'src', configuration: { uri: '${TEST_MONGODB}' } },
        { name: 'spare', configuration: { uri: 'mongodb://(hidden)@nowhere.invalid/?replicaSet=rs' } },
      ],
    );
    assert.equal(sources[1]!.status, null);
    const sink = await api.good<{ configuration: object; subscriptions: string[] }>('/sinks/{name}', '/sinks/mq');
    assert.deepEqual(sink.configuration, { uri: '${TEST_AMQP}', window: '${TEST_WINDOW}', declare: true });
    assert.deepEqual(sink.subscriptions, ['good', 'stuck', 'p-entries', 'p-events', 'p-messages']);
    const stuck = await api.good<Subscription>('/subscriptions/{name}', '/subscriptions/stuck');
    assert.deepEqual(stuck.configuration['mask'], [{ fields: ['ssn'], hash: { key: '(hidden)' } }]);
    for (const path of Object.values(GOOD)) {
      assert.doesNotMatch(JSON.stringify((await api.ask(path)).body), /S3CRET|a-token-of/, path);
    }
  });

  test('parked events come in pages that leave none out and none twice', async () => {
    const all = await parked('limit=500');
    const seen: Parked[] = [];
    let after = '';
    for (let pages = 0; ; pages++) {
      assert.ok(pages < 20);
      const { parked: some, next, store } = await api.good<ParkedPage>('/parked', `/parked?limit=4${after}`);
      assert.ok(some.length <= 4 && store.bytes > 0);
      seen.push(...some);
      if (next === null) break;
      after = `&after=${next}`;
    }
    assert.deepEqual(seen, all);
    assert.equal(new Set(all.map(({ id }) => id)).size, 15);
  });

  test('parked events are narrowed by subscription, reason and time', async () => {
    const counts = async (query: string): Promise<number> => (await parked(query)).length;
    assert.equal(await counts('subscription=p-events'), 5);
    assert.equal(await counts('subscription=nobody'), 0);
    assert.equal(await counts('reason=missing-field'), 10);
    assert.equal(await counts('reason=unroutable&subscription=p-messages'), 5);
    const [first] = await parked('subscription=p-messages');
    const [, position = ''] = /:(\d+\.\d+)\./.exec(first!.event) ?? [];
    const since = position.replace('.', ':');
    assert.equal(await counts(`since=${since}`), 15);
    assert.equal(await counts(`until=${since}`), 0);
    assert.equal(await counts('until=2020-01-01'), 0);
    for (const bad of [
      'since=yesterday',
      'reason=whim',
      'limit=0',
      'limit=501',
      'limit=x',
      'after=x',
      'limit=1&limit=2',
    ]) {
      const refused = await api.ask(`/parked?${bad}`);
      api.assertProblem('/parked', refused, 'api-bad-request');
      assert.match(JSON.stringify(refused.body), new RegExp(`query\\.${bad.split('=')[0]}`));
    }
  });

  test('a parked event shows what is in it, but nothing that a subscription hides', async () => {
    const look = async (subscription: string, at: number): Promise<ParkedDetail> => {
      const events = await parked(`subscription=${subscription}`);
      return await api.good<ParkedDetail>('/parked/{id}', `/parked/${events[at]!.id}`);
    };
    const entry = await look('p-entries', 0);
    assert.deepEqual([entry.kind, entry.content.kind], ['entry', 'documents']);
    const [plain] = entry.content.documents as [{ op: string; o: unknown }];
    assert.deepEqual([plain.op, plain.o], ['i', { _id: 1, ssn: 'PRIVATE', n: 1 }]);

    const ofTransaction = await look('p-entries', 4);
    assert.deepEqual([ofTransaction.kind, ofTransaction.content.kind], ['entry', 'withheld']);
    assert.match(ofTransaction.content.why ?? '', /another subscription hides/);

    for (const at of [0, 4]) {
      const event = await look('p-events', at);
      assert.deepEqual([event.kind, event.content.kind], ['event', 'documents']);
      assert.match(JSON.stringify(event.content), /"ssn":"gone"/);
      assert.doesNotMatch(JSON.stringify(event), /PRIVATE/);
    }

    const message = await look('p-messages', 0);
    assert.deepEqual([message.kind, message.content.kind], ['message', 'documents']);
    assert.equal(message.message?.routingKey, `${DB}.c.insert`);
    const [sent] = message.content.documents as [{ _id: string }];
    assert.equal(sent._id, message.event);
  });

  test('the checkpoint is what the command shows beside the engine', async () => {
    const shown = await api.good<{ subscriptions: { name: string; source: string; partitions: number }[] }>(
      '/checkpoint',
    );
    const { stdout } = await place.command('checkpoint', 'show', '--json');
    const besides = JSON.parse(stdout) as typeof shown;
    const parts = ({ subscriptions }: typeof shown): object[] =>
      subscriptions.map(({ name, source, partitions }) => ({ name, source, partitions }));
    assert.equal(shown.subscriptions.length, 6);
    assert.deepEqual(parts(shown), parts(besides));
  });

  test('codes are told as `explain` tells them, and problems lead to them', async () => {
    const { codes } = await api.good<{ codes: { code: string; title: string }[] }>('/codes');
    assert.deepEqual(
      codes.map(({ code }) => code),
      CODES.toSorted(),
    );
    for (const { title } of codes) assert.match(title, /\.$/);
    const { type } = (await api.ask('/sources/nobody')).body as { type: string };
    const page = (await api.ask(type.replace('/api/v1', ''))).body as Record<string, string>;
    assert.equal(page['code'], 'api-not-found');
    for (const part of ['title', 'why', 'whatToDo', 'meanwhile', 'lostOrRepeated'])
      assert.match(page[part] ?? '', /\S/);
    api.assertProblem('/codes/{code}', await api.ask('/codes/..%2Fsecurity'), 'api-not-found');
  });

  test('the page for people has every endpoint and every schema, and asks for nothing else', async () => {
    const response = await fetch(`${api.base}/docs`);
    assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
    const page = await response.text();
    for (const methods of Object.values(api.document.paths)) {
      for (const { operationId } of Object.values(methods)) assert.ok(page.includes(`id="${operationId}"`));
    }
    for (const [, target = ''] of page.matchAll(/href="#([^"]+)"/g)) assert.ok(page.includes(`id="${target}"`), target);
    assert.doesNotMatch(page, /<script|src=|href="(?!#|\/api\/v1\/)|url\(/);
    const style = /<style>([\s\S]*)<\/style>/.exec(page)?.[1] ?? '';
    const hash = createHash('sha256').update(style).digest('base64');
    assert.ok(response.headers.get('content-security-policy')?.includes(`style-src 'sha256-${hash}'`));
  });

  test('`tailrace ctl` shows the same from the shell, and says what is refused', async () => {
    const url = await engine.url();
    const ctl = async (...args: string[]) => place.command('ctl', ...args, '--url', url, '--token', TOKEN);
    const lists = {
      sources: /^src +reading/m,
      sinks: /^mq +connected/m,
      subscriptions: /^stuck +src +mq +held.* unroutable$/m,
    };
    for (const [list, expected] of Object.entries({
      ...lists,
      codes: /^api-closed +The/m,
      checkpoint: /^good +src/m,
    })) {
      const { code, stdout, stderr } = await ctl(list);
      assert.equal(code, 0, stderr);
      assert.match(stdout, expected);
    }
    const page = await ctl('parked', '--subscription', 'p-events', '--limit', '2');
    assert.equal(page.stdout.match(/^\S+ +p-events .* missing-field /gm)?.length, 2, page.stdout);
    const [, after = ''] = /--after (\S+)/.exec(page.stdout) ?? [];
    const rest = await ctl('parked', '--subscription', 'p-events', '--after', after, '--json');
    const { parked: three } = JSON.parse(rest.stdout) as ParkedPage;
    assert.equal(three.length, 3);
    const one = await ctl('parked', three[0]!.id);
    assert.equal((JSON.parse(one.stdout) as ParkedDetail).event, three[0]!.event);
    const got = await ctl('get', '/subscriptions/good');
    assert.equal((JSON.parse(got.stdout) as Subscription).name, 'good');

    const missing = await ctl('sources', 'nobody');
    assert.deepEqual([missing.code, missing.stdout], [2, '']);
    assert.match(missing.stderr, /There is no source "nobody".*\n\[code: api-not-found;/);
    const refused = await place.command('ctl', 'sources', '--url', url, '--token', 'another-token-123');
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /api-unauthorized/);
    assert.doesNotMatch(refused.stderr, /another-token/);
    const away = await place.command('ctl', 'sources', '--url', 'http://127.0.0.1:1');
    assert.equal(away.code, 1);
    assert.match(away.stderr, /no answer from an engine at http:\/\/127\.0\.0\.1:1 .*\n\[code: api-unreachable;/);
  });

  test('a client that is generated from the document works', async () => {
    const generated = new OpenAPIClientAxios({
      definition: structuredClone(api.document) as unknown as Document,
      axiosConfigDefaults: {
        baseURL: api.base,
        headers: { Authorization: `Bearer ${TOKEN}` },
        adapter: 'fetch',
        validateStatus: () => true,
      },
    });
    const client = await generated.init();
    const list = await client['listSubscriptions']!();
    assert.deepEqual(
      (list.data as { subscriptions: Subscription[] }).subscriptions.map(({ name }) => name),
      ['good', 'stuck', 'out', 'p-entries', 'p-events', 'p-messages'],
    );
    const one = await client['getSubscription']!({ name: 'stuck' });
    assert.equal((one.data as Subscription).source, 'src');
    const none = await client['getSubscription']!({ name: 'nobody' });
    assert.deepEqual([none.status, (none.data as { code: string }).code], [404, 'api-not-found']);
  });

  test('a subscription tells its lag, its headroom, and what holds its lanes', async () => {
    await until('it is held', async () => {
      const { status } = await api.good<Subscription>('/subscriptions/{name}', '/subscriptions/stuck');
      return status.state === 'held';
    });
    const { status } = await api.good<Subscription>('/subscriptions/{name}', '/subscriptions/stuck');
    assert.deepEqual(
      status.holds.map(({ reason, lanes }) => ({ reason, lanes })),
      [{ reason: 'unroutable', lanes: 1 }],
    );
    assert.deepEqual(
      status.lanes.map(({ held }) => held?.reason),
      ['unroutable'],
    );
    assert.ok(status.lagSeconds !== null && status.lagSeconds >= 0);
    assert.ok(status.headroomSeconds !== null && status.headroomSeconds >= 0);
    const { subscriptions } = await api.good<{ subscriptions: readonly Subscription[] }>('/subscriptions');
    assert.deepEqual(
      subscriptions.slice(0, 3).map(({ name, sink, status: { state } }) => ({ name, sink, state })),
      [
        { name: 'good', sink: 'mq', state: 'flowing' },
        { name: 'stuck', sink: 'mq', state: 'held' },
        { name: 'out', sink: null, state: 'flowing' },
      ],
    );
  });
});

interface Parked {
  readonly id: string;
  readonly event: string;
  readonly subscription: string;
  readonly reason: string;
  readonly kind: string;
  readonly time: string;
}

interface ParkedPage {
  readonly parked: readonly Parked[];
  readonly next: string | null;
  readonly store: { readonly bytes: number };
}

interface ParkedDetail extends Parked {
  readonly message: { readonly routingKey: string } | null;
  readonly content: { readonly kind: string; readonly documents?: readonly unknown[]; readonly why?: string };
}

describe('the API without a token', () => {
  const servers = useSharedServers();
  const config = (http: object): object => ({
    sources: { src: { uri: servers.mongo.uri } },
    subscriptions: [{ name: 'out', namespaces: [`${DB}.*`], to: 'stdout' }],
    http,
  });

  test('on loopback it answers whoever asks for this machine, but no page of another site', async () => {
    await using place = await EngineFolder.create(config({ listen: '127.0.0.1:0' }));
    const engine = place.start();
    const api = await ApiUnderTest.of(engine);
    await untilReading(engine);
    await api.good('/sources');
    const cross = async (method: string, headers: Record<string, string>): Promise<number> =>
      (await api.ask('/sources', { method, headers })).status;
    assert.equal(await cross('POST', { Origin: 'http://evil.example' }), 403);
    assert.equal(await cross('POST', { 'Sec-Fetch-Site': 'cross-site' }), 403);
    assert.equal(await cross('POST', { Origin: new URL(await engine.url()).origin }), 400);
    assert.equal(await cross('POST', {}), 400);
    const { port } = new URL(await engine.url());
    assert.equal(await statusWithHost(port, `evil.example:${port}`), 403);
    for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, '[::1]']) {
      assert.equal(await statusWithHost(port, host), 200, host);
    }
  });

  test('beyond loopback it is closed and says so; probes and metrics are not', async () => {
    await using place = await EngineFolder.create(config({ listen: '0.0.0.0:0' }));
    const engine = place.start();
    const url = (await engine.url()).replace('0.0.0.0', '127.0.0.1');
    for (const path of ['/api/v1/sources', '/status']) {
      const response = await fetch(url + path, { headers: { Authorization: 'Bearer whatever-it-may-be' } });
      assert.equal(response.status, 403, path);
      assert.equal(((await response.json()) as { code: string }).code, 'api-closed');
    }
    for (const path of ['/healthz', '/metrics', '/api/v1/openapi.json']) {
      assert.equal((await fetch(url + path)).status, 200, path);
    }
    assert.match(engine.log(), /"code":"api-closed"/);
  });
});

/** `fetch` names the host itself. */
async function statusWithHost(port: string, host: string): Promise<number | undefined> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path: '/api/v1/sources', headers: { Host: host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
}
