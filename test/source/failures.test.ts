import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MongoInvalidArgumentError, MongoNetworkError, MongoServerError } from 'mongodb';
import { classify, refusal } from '../../src/source/failures.ts';

const coded = (code: number): MongoServerError => new MongoServerError({ message: 'as the server says', code });

test('an outage, a step-down and whatever is unknown are waited out', () => {
  for (const error of [new MongoNetworkError('reset'), ...[91, 189, 11600, 11602, 13436, 99_999].map(coded), 'odd']) {
    assert.deepEqual(classify(error), { kind: 'transient' });
  }
});

test('a lost cursor is opened again, one that was overtaken after a check', () => {
  for (const code of [43, 175, 237]) assert.deepEqual(classify(coded(code)), { kind: 'cursor' });
  assert.deepEqual(classify(coded(136)), { kind: 'position' });
});

test('what asking again cannot change is fatal', () => {
  for (const code of [260, 280, 286, 326]) assert.deepEqual(classify(coded(code)), { kind: 'fatal' });
});

test('what only the user can mend names what it is', () => {
  assert.deepEqual(classify(coded(13)), { kind: 'refused', code: 'rights-missing' });
  assert.deepEqual(classify(coded(18)), { kind: 'refused', code: 'credentials-refused' });
  assert.deepEqual(classify(coded(8000)), { kind: 'refused', code: 'credentials-refused' });
  assert.deepEqual(classify(new MongoInvalidArgumentError('no')), { kind: 'refused', code: 'config-invalid' });
  assert.match(refusal({ source: 'shop', code: 'rights-missing', reason: 'no' }).message, /grantRolesToUser/);
});
