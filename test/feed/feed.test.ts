import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON } from 'bson';
import { Feed } from '../../src/feed/feed.ts';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import type { OpTime } from '../../src/source/position.ts';
import type { RawBatch } from '../../src/source/source.ts';
import { NOTHING } from '../../src/worker/protocol.ts';
import { Watchers } from '../../src/watch/watchers.ts';
import type { BatchResult, TransactionMark } from '../../src/worker/protocol.ts';
import { START_SECONDS, batchOf, entry, insert } from '../worker/fixtures.ts';

const at = (i: number): OpTime => ({ ts: { seconds: START_SECONDS, increment: i }, t: 3 });
const doNothing = (): void => undefined;

test('behind a small batch with a commit reading goes on while the transaction is delivered, and what comes waits in order', async () => {
  const part = BSON.serialize(
    entry(1, { op: 'c', ns: 'admin.$cmd', o: { applyOps: [{ op: 'i' }], partialTxn: true } }),
  );
  const commit = batchOf([entry(2, { op: 'c', ns: 'admin.$cmd', o: { applyOps: [] } })]);
  const mark: TransactionMark = {
    kind: 'commit',
    session: 'one',
    records: 0,
    parked: 0,
    before: undefined,
    at: at(2),
    previous: at(1),
    start: 7,
    end: commit.length - 1,
  };
  let hand: () => void = doNothing;
  const transaction = new Promise<void>((resolve) => (hand = resolve));
  const done: string[] = [];
  const batch = (name: string, bytes: Uint8Array, i: number): RawBatch => {
    return { bytes, entries: 1, last: at(i), letGo: () => done.push(name) };
  };
  let asked: () => void = doNothing;
  const askedOnceMore = new Promise<void>((resolve) => (asked = resolve));
  const stop = new AbortController();
  const options = {
    source: {
      name: 'shop',
      history: {
        previous: () => Promise.resolve({ kind: 'found', value: undefined }),
        entry: async () => {
          await transaction;
          return { kind: 'found', value: part };
        },
      },
      async *read() {
        yield batch('commit', commit, 2);
        yield batch('next', batchOf([insert(3, { _id: 3 })]), 3);
        asked();
        await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
      },
      connect: () => Promise.resolve({ replicaSetId: 'a', setName: 'rs', serverVersion: '6.0.5' }),
      timeSeriesNamespaces: () => Promise.resolve([]),
      resolve: () => Promise.resolve({ kind: 'after', ...at(0) }),
      verify: doNothing,
      close: doNothing,
    },
    planOf: () => ({ end: doNothing }),
    config: { name: 'shop', start: { kind: 'latest' } },
    routes: [{ config: { name: 'orders', namespaces: ['shop.*'], to: { kind: 'port' } } }],
    checkpoints: { get: doNothing, put: doNothing, flushed: doNothing },
    pipeline: { partitions: 1, partitionBy: [] },
    budget: new ByteBudget(2 ** 20),
    watchers: new Watchers(),
    pool: {
      encode: async ({ bytes, last }: RawBatch): Promise<BatchResult[]> => [
        { ...NOTHING, events: new Uint32Array(1), last, marks: bytes === commit ? [mark] : [] },
      ],
    },
    meter: { read: doNothing, filtered: doNothing, batch: doNothing },
    log: { info: doNothing, warn: doNothing },
    touch: doNothing,
  } as unknown as ConstructorParameters<typeof Feed>[0];
  const feed = new Feed(options);
  await feed.start(stop.signal);
  const running = feed.run(stop.signal);
  await askedOnceMore;
  assert.deepEqual(done, []);
  hand();
  await feed.settle(stop.signal);
  assert.deepEqual(done, ['commit', 'next']);
  stop.abort();
  await running;
  await feed.close();
});
