import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MongoNetworkError, MongoServerError } from 'mongodb';
import { Stuck } from '../../src/source/stuck.ts';
import { memoryLog } from './harness.ts';

const at = (increment: number) => ({ kind: 'from', ts: { seconds: 7, increment } }) as const;
const answer = (code: number): MongoServerError => new MongoServerError({ message: 'no', code });

test('the same answer at the same place, three times, makes the source careful, and is said once', () => {
  const { log, lines } = memoryLog();
  const stuck = new Stuck('shop', log);
  stuck.note(answer(40_532), at(1));
  stuck.note(answer(40_532), at(1));
  assert.equal(stuck.careful, false);
  stuck.note(answer(40_532), at(1));
  stuck.note(answer(40_532), at(1));
  assert.equal(stuck.careful, true);
  assert.equal(lines.length, 1);
  stuck.note(answer(40_532), at(2));
  assert.equal(stuck.careful, false);
});

test('an outage, a lost cursor and missing rights do not', () => {
  const stuck = new Stuck('shop', memoryLog().log);
  const errors = [answer(10_107), answer(43), answer(13), answer(286), new MongoNetworkError('gone')];
  for (const error of errors) for (let n = 0; n < 5; n++) stuck.note(error, at(1));
  assert.equal(stuck.careful, false);
});
