import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AnyOf } from '../../src/source/any-of.ts';

test('fires with any of its sources, for their reason, also where one had fired before', () => {
  const [first, second] = [new AbortController(), new AbortController()];
  using either = new AnyOf([first.signal, second.signal]);
  assert.equal(either.signal.aborted, false);
  second.abort('enough');
  assert.equal(either.signal.reason, 'enough');
  using late = new AnyOf([first.signal, second.signal]);
  assert.equal(late.signal.reason, 'enough');
});

test('fires when the time is up, and not once it is disposed of', async () => {
  const source = new AbortController().signal;
  const reason = new Error('late');
  using soon = new AnyOf([source]).within(1, reason);
  const over = new AnyOf([source]).within(1, reason);
  over[Symbol.dispose]();
  await sleep(50);
  assert.equal(soon.signal.reason, reason);
  assert.equal(over.signal.aborted, false);
});

test('leaves nothing with a source that lives on', () => {
  const { signal } = new AbortController();
  for (let n = 0; n < 100; n++) {
    using one = new AnyOf([signal]);
    assert.equal(one.signal.aborted, false);
  }
  assert.deepEqual(getEventListeners(signal, 'abort'), []);
});
