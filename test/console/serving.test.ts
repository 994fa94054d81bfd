/** How the console's files come: to whom, compressed, and for how long they may be kept. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { after, before, describe, test } from 'node:test';
import { startHttp } from '../../src/observe/http.ts';
import type { HttpServer } from '../../src/observe/http.ts';
import { noLog } from '../../src/library/no-log.ts';
import { sampleStatus } from '../observe/sample-status.ts';

const TOKEN = 'a-token-of-the-console-1234567890';

interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

describe('the console is served', () => {
  let server: HttpServer;
  before(async () => {
    server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      token: TOKEN,
      handlers: {
        metrics: { contentType: 'text/plain', text: async () => '' },
        liveness: () => [],
        readiness: () => [],
        status: () => sampleStatus,
      },
      log: noLog,
    });
  });
  after(async () => server?.close());

  /** As it comes: `fetch` would decompress. */
  const get = async (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Got> =>
    new Promise((resolve, reject) => {
      const asked = request(server.url, { path, method, headers }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
        );
      });
      asked.on('error', reject);
      asked.end();
    });

  const script = async (): Promise<string> => {
    const { body } = await get('/console/');
    return `/console/${/src="(main-[A-Z0-9]{8}\.js)"/.exec(body.toString())?.[1]}`;
  };

  test('/ leads there, without a token, though /status asks for one', async () => {
    for (const path of ['/', '/console']) {
      const { status, headers } = await get(path);
      assert.deepEqual([status, headers['location']], [302, 'console/']);
    }
    const page = await get('/console/');
    assert.deepEqual([page.status, page.headers['content-type']], [200, 'text/html; charset=utf-8']);
    assert.equal((await get('/status')).status, 401);
  });

  test('as compressed as whoever asks takes it', async () => {
    const path = await script();
    const plain = await get(path);
    assert.equal(plain.headers['content-encoding'], undefined);
    const gzip = await get(path, { 'Accept-Encoding': 'gzip, deflate' });
    assert.equal(gzip.headers['content-encoding'], 'gzip');
    assert.deepEqual(gunzipSync(gzip.body), plain.body);
    const br = await get(path, { 'Accept-Encoding': 'gzip, br' });
    assert.equal(br.headers['content-encoding'], 'br');
    assert.deepEqual(brotliDecompressSync(br.body), plain.body);
    assert.ok(br.body.length < gzip.body.length && gzip.body.length < plain.body.length);
    assert.equal((await get(path, { 'Accept-Encoding': 'br;q=0, gzip' })).headers['content-encoding'], 'gzip');
    assert.match(String(br.headers['vary']), /Accept-Encoding/);
  });

  test('a name that changes with its file is kept for ever, the page is asked for again', async () => {
    const forever = await get(await script());
    assert.equal(forever.headers['cache-control'], 'public, max-age=31536000, immutable');
    const page = await get('/console/');
    assert.equal(page.headers['cache-control'], 'no-cache');
    const again = await get('/console/', { 'If-None-Match': String(page.headers['etag']) });
    assert.deepEqual([again.status, again.body.length], [304, 0]);
    assert.equal((await get('/console/', { 'If-None-Match': '"other"' })).status, 200);
  });

  test('its policy lets in nothing from elsewhere, and nothing inline', async () => {
    const { headers, body } = await get('/console/');
    const policy = String(headers['content-security-policy']);
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.doesNotMatch(policy, /unsafe|http|\*/);
    assert.doesNotMatch(body.toString(), /https?:|<script>|<style|style=/);
  });

  test('nothing else is: no other file, no other method, no page of another site', async () => {
    for (const path of [
      '/console/nothing.js',
      '/console/../cli.js',
      '/console/%2e%2e/cli.js',
      '/console/index.html.br',
    ]) {
      const { status, headers } = await get(path);
      assert.equal(status, 404, path);
      assert.equal(headers['content-type'], 'application/problem+json; charset=utf-8');
    }
    const posted = await get('/console/', { Origin: server.url }, 'POST');
    assert.deepEqual([posted.status, posted.headers['allow']], [405, 'GET, HEAD']);
    const head = await get('/console/', {}, 'HEAD');
    assert.deepEqual([head.status, head.body.length], [200, 0]);
    assert.ok(Number(head.headers['content-length']) > 300);
  });
});
