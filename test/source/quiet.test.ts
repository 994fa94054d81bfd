import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { QuietStretch } from '../../src/source/quiet.ts';
import type { Member } from '../../src/source/member.ts';
import type { OpTime } from '../../src/source/position.ts';

const at = (seconds: number, t = 1): OpTime => ({ ts: { seconds, increment: 1 }, t });
const never = new AbortController().signal;

function stretch(t: TestContext, majority: OpTime | undefined, entry: OpTime | undefined) {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const member = { hello: async () => ({ majority }), entryFrom: async () => entry } as unknown as Member;
  return { quiet: new QuietStretch(member, { kind: 'after', ...at(100) }), later: (ms: number) => (now += ms) };
}

test('the majority is asked only after 5 s without anything', async (t) => {
  const { quiet, later } = stretch(t, at(110), at(110));
  later(4_999);
  assert.equal(await quiet.ahead(never), undefined);
  later(1);
  assert.deepEqual(await quiet.ahead(never), at(110));
  quiet.reached(at(105));
  assert.equal(await quiet.ahead(never), undefined);
});

test('the position stays where the majority is no further, or its entry cannot be read here, or is of another history', async (t) => {
  for (const [majority, entry] of [
    [at(100), at(100)],
    [at(90), at(90)],
    [undefined, undefined],
    [at(110), undefined],
    [at(110), at(111)],
    [at(110, 2), at(110, 1)],
  ]) {
    const { quiet, later } = stretch(t, majority, entry);
    later(6_000);
    assert.equal(await quiet.ahead(never), undefined);
    t.mock.restoreAll();
  }
});
