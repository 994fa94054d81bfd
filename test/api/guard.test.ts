import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { Guard, isLoopback } from '../../src/api/guard.ts';
import { PROBLEMS } from '../../src/api/problem.ts';
import type { ProblemCode } from '../../src/api/problem.ts';
import { RateLimit } from '../../src/api/rate-limit.ts';
import { readCodePage } from '../../src/code-page.ts';

test('addresses of loopback are told from all others, also from those that only look like it', () => {
  for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.1.2.3', '::1']) assert.ok(isLoopback(host), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.example', 'localhost.evil.example', '']) {
    assert.ok(!isLoopback(host), host);
  }
});

test('an address has 200 requests at once, then 50 a second; others are not concerned', () => {
  const rate = new RateLimit();
  for (let i = 0; i < 200; i++) assert.equal(rate.take('a', 0), 0);
  assert.equal(rate.take('a', 0), 1);
  assert.equal(rate.take('b', 0), 0);
  for (let i = 0; i < 50; i++) assert.equal(rate.take('a', 1_000), 0);
  assert.ok(rate.take('a', 1_000) > 0);
});

test('addresses without end take no memory without end', () => {
  const rate = new RateLimit();
  for (let i = 0; i < 200; i++) rate.take('first', 0);
  for (let i = 0; i < 5_000; i++) rate.take(`address ${i}`, 0);
  assert.equal(rate.take('first', 0), 0, 'it was forgotten');
});

test('a client that goes wild is refused before its token is looked at', () => {
  const guard = new Guard({ host: '127.0.0.1', token: 'a-token-of-tests' });
  const request = { method: 'GET', headers: {}, socket: { remoteAddress: 'x' } } as unknown as IncomingMessage;
  for (let i = 0; i < 200; i++) assert.equal(guard.refusal(request, { open: false })?.code, 'api-unauthorized');
  const { code, headers } = guard.refusal(request, { open: false })!;
  assert.deepEqual([code, headers], ['api-too-many', { 'Retry-After': '1' }]);
});

test('titles of problems are those of the pages', async () => {
  for (const [code, { title }] of Object.entries(PROBLEMS)) {
    const [, , said] = (await readCodePage(code as ProblemCode)).split('\n');
    assert.equal(title, said, code);
  }
});
