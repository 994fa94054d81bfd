/** The comparison as an assertion of a test, with what the server at hand has of it. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { campaign } from './campaign.ts';
import type { Mode } from './engine-listener.ts';
import { failureReport, summary } from './report.ts';
import { shrink } from './shrink.ts';
import { Wire } from './wire.ts';

const DATA = ['insert', 'update', 'replace', 'delete'];
const COMMANDS = ['drop', 'dropDatabase', 'rename'];
const EXPANDED_COMMANDS = [...COMMANDS, 'create', 'createIndexes', 'dropIndexes', 'modify'];
const SHRINK_MS = 60_000;

export interface Comparison {
  readonly uri: string;
  readonly seed: number;
  readonly operations: number;
  readonly modes?: readonly Mode[];
  readonly version?: string | undefined;
}

export async function assertEqual(t: TestContext, comparison: Comparison): Promise<void> {
  const { uri, seed, operations, modes = ['oplog'], version } = comparison;
  const listening = { uri, modes, ddl: true, expanded: await hasExpandedEvents(uri) };
  const result = await campaign({ ...listening, seed, operations, large: true });
  t.diagnostic(summary(result));
  const { failure } = result;
  if (failure !== undefined) {
    const shrunk = await shrink(failure, { ...listening, withinMs: SHRINK_MS });
    const flags = [
      ...(version === undefined ? [] : [`--server ${version}`]),
      ...(listening.expanded ? [] : ['--no-expanded']),
      `--modes ${modes.join(',')}`,
    ];
    assert.fail(failureReport(failure, shrunk, flags));
  }
  assert.ok(result.operations >= operations);
  // A workload that the server mostly refuses, or whose events are few, would show nothing.
  assert.ok(result.refused < result.steps / 3, `${result.refused} of ${result.steps} steps were refused`);
  const commands = listening.expanded ? EXPANDED_COMMANDS : COMMANDS;
  const least = new Map([
    ...DATA.map((kind) => [kind, operations / 100] as const),
    ...commands.map((kind) => [kind, 1] as const),
  ]);
  for (const [kind, wanted] of least) {
    const count = result.kinds.get(kind) ?? 0;
    assert.ok(count >= wanted, `only ${count} events of the kind ${kind}`);
  }
}

/** Servers from 6.0 on. */
async function hasExpandedEvents(uri: string): Promise<boolean> {
  await using wire = await Wire.open(uri);
  const { version } = await wire.run('admin', { buildInfo: 1 });
  return Number.parseInt(String(version), 10) >= 6;
}
