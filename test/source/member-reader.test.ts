import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { MongoNetworkError } from 'mongodb';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import { refusal } from '../../src/source/failures.ts';
import { MemberReader } from '../../src/source/member-reader.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';
import { memoryLog } from './harness.ts';

let mongo: Shared;

before(async () => {
  mongo = await sharedMongo();
});
after(async () => {
  await mongo.stop();
});

/** Whether the member counts as left when a tail is closed that ended in `failure`. */
async function leftAtClose(t: TestContext, failure: Error): Promise<boolean> {
  const stop = new AbortController();
  let left: boolean | undefined;
  const reader = new MemberReader({
    name: 'shop',
    uri: mongo.uri,
    budget: new ByteBudget(1 << 20),
    awaitMs: 100,
    log: memoryLog().log,
    onReconnect: () => undefined,
    open: async (member) => ({
      head: undefined,
      next: async () => Promise.reject(failure),
      close: async () => {
        left ??= member.left.aborted;
        stop.abort();
      },
    }),
    identify: async () => ({ replicaSetId: 'a', setName: 'rs0', serverVersion: '6.0.5' }),
    refusal: (code, reason) => refusal({ source: 'shop', code, reason }),
  });
  t.after(() => reader.close());
  const point = { kind: 'from', ts: { seconds: 1, increment: 1 } } as const;
  for await (const batch of reader.read(point, stop.signal)) assert.fail(`nothing was to come: ${batch.entries}`);
  assert.notEqual(left, undefined);
  return left === true;
}

test('a member that cannot be reached is left before its cursor is closed: nobody waits for it to answer', async (t) => {
  assert.equal(await leftAtClose(t, new MongoNetworkError('connection closed')), true);
});

test('a member that answers is asked to forget its cursor, whatever ended that', async (t) => {
  assert.equal(await leftAtClose(t, new Error('something else')), false);
});
