/** A short form of `npm run fuzz`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from './campaign.ts';
import { TARGETS } from './targets.ts';

test('whatever comes from outside ends as documented: nothing crashes, hangs, or depends on what lies beside it', async (t) => {
  const { cases, findings } = await fuzz({
    cases: 3_000,
    seed: 1,
    roundTimeoutMs: 60_000,
    tell: (line) => t.diagnostic(line),
  });
  assert.deepEqual(findings, []);
  assert.ok(cases >= 3_000, `${cases} cases`);
});

test('the shares of the targets make up the whole', () => {
  assert.equal(
    TARGETS.reduce((sum, { share }) => sum + share, 0),
    100,
  );
});
