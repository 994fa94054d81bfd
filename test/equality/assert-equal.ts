/** The comparison as an assertion of a test, with what the server at hand has of it. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { campaign } from './campaign.ts';
import { failureReport, summary } from './report.ts';
import { shrink } from './shrink.ts';

const SHRINK_MS = 60_000;

export interface Comparison {
  readonly uri: string;
  readonly seed: number;
  readonly operations: number;
}

export async function assertEqual(t: TestContext, { uri, seed, operations }: Comparison): Promise<void> {
  const listening = { uri, ddl: false, expanded: false };
  const result = await campaign({ ...listening, seed, operations, large: true });
  t.diagnostic(summary(result));
  const { failure } = result;
  if (failure !== undefined) {
    assert.fail(failureReport(failure, await shrink(failure, { ...listening, withinMs: SHRINK_MS })));
  }
  assert.ok(result.operations >= operations);
  // A workload that the server mostly refuses, or whose events are few, would show nothing.
  assert.ok(result.refused < result.steps / 3, `${result.refused} of ${result.steps} steps were refused`);
  for (const kind of ['insert', 'update', 'replace', 'delete']) {
    const count = result.kinds.get(kind) ?? 0;
    assert.ok(count > operations / 100, `only ${count} events of the kind ${kind}`);
  }
}
