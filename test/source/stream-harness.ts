/** A change stream's source over a real server, and ways to look at what it gives. */
import type { TestContext } from 'node:test';
import * as BSON from 'bson';
import type { Document } from 'bson';
import type { ChangeStreamConfig } from '../../src/config/config.ts';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import { ChangeStreamSource } from '../../src/source/change-stream-source.ts';
import type { ResumePoint } from '../../src/source/position.ts';
import { pointAfter } from '../../src/source/position.ts';
import { giveBack, memoryLog } from './harness.ts';
import type { Line } from './harness.ts';

export interface Stream {
  readonly source: ChangeStreamSource;
  readonly budget: ByteBudget;
  readonly lines: readonly Line[];
}

export function streamOver(
  t: TestContext,
  uri: string,
  changeStream: Partial<ChangeStreamConfig> = {},
  { budget = new ByteBudget(64 << 20), awaitMs = 300, expanded = false } = {},
): Stream {
  const { log, lines } = memoryLog();
  const config = {
    name: 'shop',
    uri,
    mode: 'changeStream',
    start: { kind: 'latest' },
    onPositionLost: 'stop',
    changeStream: {
      watch: 'deployment',
      fullDocument: 'default',
      fullDocumentBeforeChange: 'off',
      onOversizeEvent: 'park',
      ...changeStream,
    },
  } as const;
  const source = new ChangeStreamSource({ config, expanded, budget, awaitMs, log });
  t.after(() => source.close());
  return { source, budget, lines };
}

/** Reads until `enough` of all events so far; `at` is the position behind them. */
export async function readEvents(
  { source, budget }: Stream,
  point: ResumePoint,
  enough: (events: readonly Document[]) => boolean,
  stop: AbortSignal = AbortSignal.timeout(60_000),
): Promise<{ readonly events: Document[]; readonly at: ResumePoint }> {
  const events: Document[] = [];
  let at = point;
  for await (const batch of source.read(point, stop)) {
    events.push(...Object.values<Document>(BSON.deserialize(batch.bytes, { promoteLongs: false })));
    if (batch.last !== undefined) at = pointAfter(batch.last);
    giveBack(budget, batch);
    if (enough(events)) return { events, at };
  }
  throw new Error(`it ended after ${events.length} events`);
}
