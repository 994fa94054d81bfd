import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KnownPlans, SharedPlan } from '../../src/worker/plan.ts';
import { plan } from './fixtures.ts';

test('a thread reads a plan once, and gets it as it was', () => {
  const given = plan([{ craft: { headers: { kind: 'a text' } } }, { name: 'others', format: 'bson' }]);
  const shared = new SharedPlan(given);
  const known = new KnownPlans();
  const read = known.of(shared.handle);
  assert.deepEqual(read, given);
  assert.notEqual(read, given);
  assert.equal(known.of(shared.handle), read);
});

test('a plan that is over is forgotten when another one comes, and no sooner', () => {
  const known = new KnownPlans();
  const [first, second, third] = [1, 2, 3].map((n) => new SharedPlan(plan([{ name: `s${n}` }])));
  const read = known.of(first!.handle);
  known.of(second!.handle);
  first!.end();
  assert.equal(known.of(first!.handle), read, 'a batch that is under way still needs it');
  known.of(third!.handle);
  assert.equal(known.size, 2);
});
