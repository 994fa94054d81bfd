import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { withoutPoolChecks } from '../../src/source/pool-checks.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { sourceOver, until } from './harness.ts';

const patience = AbortSignal.timeout(60_000);

let mongo: MongoServer;
before(async () => {
  mongo = await startMongo();
});
after(() => mongo.stop());

test('an open cursor counts as an answer, though an idle server gives the next one only after the await time', async (t) => {
  const { source } = sourceOver(t, mongo.uri, { awaitMs: 30_000 });
  await source.connect(patience);
  const stop = new AbortController();
  const reading = source.read(await source.resolve({ kind: 'latest' }, patience), stop.signal).next();
  await until(() => source.state === 'reading');
  assert.notEqual(source.lastReplyAt, undefined);
  stop.abort();
  await reading;
});

test("a source that has nothing to do is not woken by the driver's looks at its pools", async (t) => {
  const { source } = sourceOver(t, mongo.uri);
  await source.connect(patience);
  let timers = 0;
  const hook = createHook({
    init: (_, type) => {
      if (type === 'Timeout' && new Error().stack?.includes('connection_pool')) timers += 1;
    },
  });
  hook.enable();
  await sleep(1_500);
  hook.disable();
  assert.ok(timers < 5, `${timers} timers of the pools in 1.5 s`);
});

test('connections that the URI asks for are kept as the driver keeps them', () => {
  const asked = withoutPoolChecks(new MongoClient('mongodb://localhost/?minPoolSize=1'));
  assert.equal('minPoolSizeCheckFrequencyMS' in asked.options, false);
});
