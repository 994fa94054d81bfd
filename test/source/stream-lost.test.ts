import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MongoClient, MongoServerError } from 'mongodb';
import { PositionLostError } from '../../src/errors.ts';
import { BatchSize } from '../../src/source/batch-size.ts';
import { Member, MemberUnfitError } from '../../src/source/member.ts';
import type { ReplicaSet } from '../../src/source/replica-set.ts';
import { lostPosition } from '../../src/source/stream-tail.ts';
import { Stuck } from '../../src/source/stuck.ts';
import { memoryLog } from './harness.ts';

const point = { kind: 'from', ts: { seconds: 7, increment: 3 } } as const;
const never = new AbortController().signal;

/** `others`: those that have the position. */
async function verdict(code: number, others: readonly string[]): Promise<unknown> {
  const askOthers = (async () => ({
    members: 3,
    answers: others.map((address) => ({ address, answer: undefined })),
  })) as unknown as ReplicaSet['askOthers'];
  const member = new Member({
    address: 'a:1',
    parsed: new MongoClient('mongodb://a:1/').options,
    ioTimeoutMs: 100,
  });
  const { log } = memoryLog();
  const options = {
    source: 'shop',
    set: { askOthers },
    sharded: false,
    member,
    config: {
      watch: 'deployment',
      fullDocument: 'default',
      fullDocumentBeforeChange: 'off',
      onOversizeEvent: 'park',
    },
    features: { expanded: false, split: false },
    awaitMs: 100,
    batchSize: new BatchSize(),
    stuck: new Stuck('shop', log),
    log,
  } as const;
  const error = new MongoServerError({ message: 'no', code });
  try {
    return await lostPosition(error, options, point, never);
  } catch (thrown) {
    return thrown;
  } finally {
    await member.close();
  }
}

test('a position that one member’s oplog does not reach back to is looked for at another that has it', async () => {
  for (const code of [286, 326]) {
    const found = await verdict(code, ['b:1']);
    assert.ok(found instanceof MemberUnfitError, String(found));
    assert.match(found.message, /that of b:1 does/);
    const lost = await verdict(code, []);
    assert.ok(lost instanceof PositionLostError, String(lost));
    assert.equal(lost.reason, 'truncated');
  }
});

test('a history that went another way is lost everywhere, and any other error says nothing', async () => {
  const lost = await verdict(280, ['b:1']);
  assert.ok(lost instanceof PositionLostError, String(lost));
  assert.equal(lost.reason, 'diverged');
  assert.equal(await verdict(189, []), undefined);
});
