import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { BSON, Long } from 'bson';
import { CursorEndedError, OplogCursor } from '../../src/source/cursor.ts';
import type { CursorOptions } from '../../src/source/cursor.ts';
import { MemberUnfitError } from '../../src/source/member.ts';
import { entry } from '../worker/fixtures.ts';

const stop = new AbortController().signal;

/** What the server answers to one command after the other; silence behind the last. */
interface Answer {
  readonly id: number;
  readonly entries: number;
}

function cursorOf(answers: readonly Answer[], filter?: CursorOptions['filter']): Promise<OplogCursor> {
  const left = [...answers];
  const command = (_: unknown, { signal }: { signal: AbortSignal }): Promise<unknown> => {
    const answer = left.shift();
    if (answer === undefined) {
      // As the driver does it: the reason is wrapped.
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted', { cause: signal.reason })));
      });
    }
    const batch = Array.from({ length: answer.entries }, (_entry, n) => entry(n + 1, {}));
    const cursor = BSON.serialize({
      [left.length === answers.length - 1 ? 'firstBatch' : 'nextBatch']: batch,
      id: Long.fromNumber(answer.id),
    });
    return Promise.resolve({ cursor });
  };
  const client = { startSession: () => ({ endSession: () => undefined }), db: () => ({ command }) };
  const options = {
    member: { address: 'a:1', client, left: stop },
    ts: { seconds: 1, increment: 1 },
    awaitMs: 1_000,
    batchSize: { entries: 10, note: () => undefined },
    filter,
  };
  return OplogCursor.open(options as unknown as CursorOptions, stop);
}

const wanted = (): [] => [];
const OPEN = { id: 7, entries: 1 };
const AT_THE_END = { id: 7, entries: 3 };
const FULL = { id: 7, entries: 10 };

test('an empty reply of a cursor that was closed is none: it does not say that nothing was there', async () => {
  const cursor = await cursorOf([OPEN, { id: 0, entries: 0 }], wanted);
  await assert.rejects(cursor.next({}, stop), CursorEndedError);
});

test('the last entries of a cursor that was closed are given before it ends', async () => {
  const cursor = await cursorOf([OPEN, { id: 0, entries: 2 }]);
  assert.equal((await cursor.next({}, stop)).entries, 2);
  await assert.rejects(cursor.next({}, stop), CursorEndedError);
});

/** Whether the cursor is given up when the server is silent for half a minute, `laterMs` behind these replies. */
async function isGivenUp(
  t: TestContext,
  { replies, filter, laterMs = 0 }: { replies: readonly Answer[]; filter?: CursorOptions['filter']; laterMs?: number },
): Promise<boolean> {
  const cursor = await cursorOf([OPEN, ...replies], filter);
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const { entries } of replies) assert.equal((await cursor.next({}, stop)).entries, entries);
  now += laterMs;
  let error: unknown;
  void cursor.next({}, stop).catch((reason: unknown) => (error = reason));
  t.mock.timers.tick(31_000);
  await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.reset();
  t.mock.restoreAll();
  if (error !== undefined) assert.ok(error instanceof MemberUnfitError);
  return error !== undefined;
}

test('a filtered cursor at the end of the oplog is given up when it is silent for half a minute', async (t) => {
  assert.ok(await isGivenUp(t, { replies: [AT_THE_END], filter: wanted }));
  assert.ok(await isGivenUp(t, { replies: [FULL, { id: 7, entries: 0 }], filter: wanted }));
});

test('one that may have much to pass over is not, nor one whose connection has a deadline of its own', async (t) => {
  assert.ok(!(await isGivenUp(t, { replies: [], filter: wanted })));
  assert.ok(!(await isGivenUp(t, { replies: [AT_THE_END, FULL], filter: wanted })));
  assert.ok(!(await isGivenUp(t, { replies: [AT_THE_END], filter: wanted, laterMs: 60_000 })));
  assert.ok(!(await isGivenUp(t, { replies: [AT_THE_END] })));
});
