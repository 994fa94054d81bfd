import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OpTime } from '../../src/source/position.ts';
import { checkResume } from '../../src/source/resume-check.ts';

const at = (seconds: number, t = 1): OpTime => ({ ts: { seconds, increment: 1 }, t });
const oldestIs = (oldest: OpTime) => () => Promise.resolve(oldest);
const notAsked = (): never => assert.fail('the oldest entry is not needed here');

test('an exact position whose entry comes first is valid, and that entry is not given again', async () => {
  const verdict = await checkResume({ point: { kind: 'after', ...at(5) }, first: at(5), oldest: notAsked });
  assert.deepEqual(verdict, { kind: 'valid', skipFirst: true });
});

test('an exact position older than the oldest entry is lost: truncated', async () => {
  const verdict = await checkResume({ point: { kind: 'after', ...at(5) }, first: at(7), oldest: oldestIs(at(7)) });
  assert.deepEqual(verdict, { kind: 'lost', reason: 'truncated', oldest: at(7) });
});

test('an exact position that is missing among older entries is lost: diverged', async () => {
  const verdict = await checkResume({ point: { kind: 'after', ...at(5) }, first: at(6), oldest: oldestIs(at(1)) });
  assert.deepEqual(verdict, { kind: 'lost', reason: 'diverged', oldest: at(1) });
});

test('the same ts under another term is another history, even where it is the oldest entry', async () => {
  for (const oldest of [at(1), at(5, 2)]) {
    const verdict = await checkResume({
      point: { kind: 'after', ...at(5) },
      first: at(5, 2),
      oldest: oldestIs(oldest),
    });
    assert.deepEqual(verdict, { kind: 'lost', reason: 'diverged', oldest });
  }
});

test('an exact position without any entry at or behind it is ahead of this member', async () => {
  const verdict = await checkResume({ point: { kind: 'after', ...at(5) }, first: undefined, oldest: notAsked });
  assert.deepEqual(verdict, { kind: 'behind' });
});

test('a boundary is valid while the oldest entry is at or before it, whatever comes first', async () => {
  for (const first of [at(5), at(9), undefined]) {
    const verdict = await checkResume({ point: { kind: 'from', ts: at(5).ts }, first, oldest: oldestIs(at(5)) });
    assert.deepEqual(verdict, { kind: 'valid', skipFirst: false });
  }
  const lost = await checkResume({ point: { kind: 'from', ts: at(5).ts }, first: at(6), oldest: oldestIs(at(6)) });
  assert.deepEqual(lost, { kind: 'lost', reason: 'truncated', oldest: at(6) });
});
