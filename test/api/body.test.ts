/** What a request may bring along: JSON, checked like everything else, and nothing that a page of another site could send. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { OpenAPIClientAxios } from 'openapi-client-axios';
import type { Document } from 'openapi-client-axios';
import { ctlAny } from '../../src/commands/ctl.ts';
import { createApi } from '../../src/api/app.ts';
import { BODY_LIMIT } from '../../src/api/endpoint.ts';
import type { EngineView } from '../../src/api/endpoint.ts';
import { noLog } from '../../src/library/no-log.ts';
import { startHttp } from '../../src/observe/http.ts';
import type { HttpServer } from '../../src/observe/http.ts';
import { sampleStatus } from '../observe/sample-status.ts';
import { ApiUnderTest } from './fixtures.ts';
import { LARGE_BODY, thingEndpoints } from './thing-endpoints.ts';

let server: HttpServer;
let api: ApiUnderTest;
before(async () => {
  server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    handlers: {
      metrics: { contentType: 'text/plain', text: async () => '' },
      liveness: () => [],
      readiness: () => [],
      status: () => sampleStatus,
      // These endpoints look at no engine.
      api: async () => createApi({} as EngineView, noLog, thingEndpoints()),
    },
    log: noLog,
  });
  api = await ApiUnderTest.of({ url: async () => server.url });
});
after(async () => server?.close());

const faultsOf = (body: unknown): readonly { path: string; expected: string }[] =>
  (body as { faults: readonly { path: string; expected: string }[] }).faults;

test('a body is taken by every method that has one, several methods on one path, and answered with its status', async () => {
  const created = await api.ask('/things', { method: 'POST', body: { name: 'a', size: 1 } });
  assert.deepEqual([created.status, created.body], [201, { name: 'a', size: 1 }]);
  api.assertFits('/things', 201, { body: created.body, method: 'post' });
  assert.deepEqual(await api.good('/things'), { things: [{ name: 'a', size: 1 }] });
  const changed = { size: 2, tags: ['x'] };
  assert.deepEqual(await api.good('/things/{name}', '/things/a', 'put', changed), { name: 'a', ...changed });
  assert.deepEqual(await api.good('/things/{name}', '/things/a', 'delete'), { name: 'a', ...changed });
  const gone = await api.ask('/things/a', { method: 'DELETE' });
  api.assertProblem('/things/{name}', gone, 'api-not-found', 'delete');
  const other = await api.ask('/things', { method: 'PUT', body: {} });
  api.assertProblem('', other, 'api-method');
  assert.equal(other.headers.get('allow'), 'GET, HEAD, POST');
  assert.equal((await api.ask('/things/a')).headers.get('allow'), 'PUT, DELETE');
});

test('each fault of a body is named by its path', async () => {
  for (const [body, ...paths] of [
    [{ size: 'x', tags: ['a', 1], more: 1 }, 'body.name', 'body.size', 'body.tags[1]', 'body.more'],
    [undefined, 'body'],
    ['', 'body'],
    ['{', 'body'],
    ['[]', 'body'],
    ['null', 'body'],
    ['{"name":"a","size":1,"__proto__":{"x":1}}', 'body'],
  ] as const) {
    const refused = await api.ask('/things', { method: 'POST', body });
    api.assertProblem('/things', refused, 'api-bad-request', 'post');
    assert.deepEqual(
      faultsOf(refused.body)
        .map(({ path }) => path)
        .toSorted(),
      paths.toSorted(),
      JSON.stringify(body),
    );
  }
  const { body } = await api.ask('/things', { method: 'POST', body: { name: 1, size: 0.5 } });
  assert.deepEqual(faultsOf(body), [
    { path: 'body.name', expected: 'string, received number' },
    { path: 'body.size', expected: 'a whole number' },
  ]);
});

test('where no body is taken none may be sent; an empty one is none', async () => {
  await api.ask('/things', { method: 'POST', body: { name: 'b', size: 1 } });
  const refused = await api.ask('/things/b', { method: 'DELETE', body: { force: true } });
  api.assertProblem('/things/{name}', refused, 'api-bad-request', 'delete');
  assert.deepEqual(faultsOf(refused.body), [{ path: 'body', expected: 'no body: this takes none' }]);
  assert.equal((await api.ask('/things/b', { method: 'DELETE', body: '' })).status, 200);
});

test('a body is taken as application/json only, which no form can send', async () => {
  const body = JSON.stringify({ name: 'c', size: 1 });
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', '', 'x']) {
    const refused = await api.ask('/things', { method: 'POST', body, headers: { 'Content-Type': type } });
    api.assertProblem('/things', refused, 'api-content-type', 'post');
  }
  const untyped = await fetch(`${api.base}/things`, { method: 'POST', body: Buffer.from(body) });
  assert.equal(untyped.status, 415);
  assert.deepEqual(await api.good('/things'), { things: [] });
  const charset = { 'Content-Type': 'application/json; charset=utf-8' };
  assert.equal((await api.ask('/things', { method: 'POST', body, headers: charset })).status, 201);
  assert.equal((await api.ask('/things/c', { method: 'DELETE' })).status, 200);
});

test('a page of another site changes nothing, whatever the method', async () => {
  for (const [method, path] of [
    ['POST', '/things'],
    ['PUT', '/things/a'],
    ['DELETE', '/things/a'],
  ] as const) {
    for (const headers of [{ Origin: 'https://elsewhere.example' }, { 'Sec-Fetch-Site': 'cross-site' }]) {
      const refused = await api.ask(path, { method, headers, ...(method !== 'DELETE' && { body: { size: 1 } }) });
      api.assertProblem('', refused, 'api-cross-site');
    }
  }
});

test('a body may be as large as its endpoint says, and no larger', async () => {
  const sized = (bytes: number): string => {
    const body = JSON.stringify({ name: 'large', size: 1, tags: [''] });
    return body.replace('""', `"${'x'.repeat(bytes - body.length)}"`);
  };
  const post = async (bytes: number) => api.ask('/things', { method: 'POST', body: sized(bytes) });
  assert.equal((await post(LARGE_BODY)).status, 201);
  const over = await post(LARGE_BODY + 1);
  api.assertProblem('/things', over, 'api-too-large', 'post');
  assert.match(JSON.stringify(over.body), new RegExp(`${LARGE_BODY} bytes`));
  const put = await api.ask('/things/large', { method: 'PUT', body: sized(BODY_LIMIT + 1) });
  api.assertProblem('/things/{name}', put, 'api-too-large', 'put');
  await api.ask('/things/large', { method: 'DELETE' });
});

test('the document tells what is taken, and a client that is generated from it sends it', async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(api.document));
  assert.ok(valid, JSON.stringify(errors));
  api.assertTaken('/things', 'post', { name: 'd', size: 1 });
  assert.throws(() => api.assertTaken('/things', 'post', { size: 1 }));
  const generated = new OpenAPIClientAxios({
    definition: structuredClone(api.document) as unknown as Document,
    axiosConfigDefaults: { baseURL: api.base, adapter: 'fetch', validateStatus: () => true },
  });
  const client = await generated.init();
  const created = await client['createThing']!(undefined, { name: 'd', size: 1 });
  assert.deepEqual([created.status, created.data], [201, { name: 'd', size: 1 }]);
  const changed = await client['changeThing']!({ name: 'd' }, { size: 3 });
  assert.deepEqual([changed.status, changed.data], [200, { name: 'd', size: 3 }]);
  const refused = await client['changeThing']!({ name: 'd' }, { size: 'large' });
  assert.deepEqual([refused.status, (refused.data as { code: string }).code], [400, 'api-bad-request']);
  const gone = await client['deleteThing']!({ name: 'd' });
  assert.equal(gone.status, 200);
  const page = await (await fetch(`${api.base}/docs`)).text();
  assert.match(page, /Takes as its body/);
});

test('`tailrace ctl` sends what a file holds, as JSON or YAML, and says what is wrong with it', async (t) => {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-body-'));
  t.after(async () => rm(path, { recursive: true }));
  const write = async (text: string): Promise<string> => {
    const file = join(path, 'thing.yaml');
    await writeFile(file, text);
    return file;
  };
  const said: string[] = [];
  const ctl = async (method: 'POST' | 'PUT' | 'DELETE', at: string, bodyFile?: string): Promise<unknown> => {
    await ctlAny({ url: server.url, json: false, write: (text) => said.push(text) }, at, { method, bodyFile });
    return JSON.parse(said.pop() ?? '');
  };
  const e = { name: 'e', size: 1 };
  assert.deepEqual(await ctl('POST', 'things', await write('{"name":"e","size":1}')), e);
  assert.deepEqual(await ctl('PUT', '/api/v1/things/e', await write('size: 2\ntags: [x]\n')), {
    ...e,
    size: 2,
    tags: ['x'],
  });
  assert.equal(((await ctl('DELETE', '/things/e')) as typeof e).size, 2);
  await assert.rejects(ctl('POST', 'things', await write('size: 1')), {
    code: 'api-bad-request',
    message: /body\.name/,
  });
  await assert.rejects(ctl('POST', 'things', await write('name: [')), { code: 'config-invalid', message: /was sent/ });
  await assert.rejects(ctl('POST', 'things', join(path, 'none')), { code: 'usage', message: /none .*ENOENT/ });
});
