import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BSON, Long, Timestamp, UUID } from 'bson';
import type { Document } from 'bson';
import { PositionLostError } from '../../src/errors.ts';
import { DamagedPartError, EntryGoneError, pieces, walkBack } from '../../src/feed/pieces.ts';
import { Members } from '../../src/feed/members.ts';
import type { Route } from '../../src/feed/route.ts';
import { Transactions } from '../../src/feed/transactions.ts';
import type { GapRecord } from '../../src/checkpoint/record.ts';
import type { OplogHistory } from '../../src/source/history.ts';
import type { OpTime } from '../../src/source/position.ts';
import { SharedPlan } from '../../src/worker/plan.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';
import { batchOf, entry, jsonEvents, plan, run, START_SECONDS } from '../worker/fixtures.ts';

const stop = new AbortController().signal;
const at = (i: number): OpTime => ({ ts: { seconds: START_SECONDS, increment: i }, t: 3 });
const session = { lsid: { id: new UUID(), uid: Buffer.alloc(32) }, txnNumber: Long.fromNumber(5) };
const none = { prevOpTime: { ts: new Timestamp({ t: 0, i: 0 }), t: Long.fromNumber(-1) } };
const behind = (i: number): Document => ({
  prevOpTime: { ts: new Timestamp({ t: START_SECONDS, i }), t: Long.fromNumber(3) },
});

function part(i: number, fields: Document, ids: readonly number[], o: Document, padding = 0): Document {
  const applyOps = ids.map((_id) => ({
    op: 'i',
    ns: 'shop.orders',
    ui: new UUID(),
    o: { _id, padding: 'x'.repeat(padding) },
    o2: { _id },
  }));
  return entry(i, { op: 'c', ns: 'admin.$cmd', o: { applyOps, ...o }, ...session, ...fields });
}

/** An oplog that holds these entries. */
function historyOf(entries: readonly Document[]): OplogHistory {
  const find = ({ ts }: OpTime): Document | undefined =>
    entries.find((one) => one['ts'].t === ts.seconds && one['ts'].i === ts.increment);
  const gone = { kind: 'gone', reason: 'truncated', oldest: at(1) } as const;
  return {
    entry: async (where) => {
      const found = find(where);
      return found ? { kind: 'found', value: BSON.serialize(found) } : gone;
    },
    previous: async (where) => {
      const found = find(where);
      if (!found) return gone;
      const { ts, t } = found['prevOpTime'];
      const value = ts.i === 0 ? undefined : { ts: { seconds: ts.t, increment: ts.i }, t: Number(t) };
      return { kind: 'found', value };
    },
  };
}

async function eventsOf(history: OplogHistory, previous: OpTime, commit: Document): Promise<Document[]> {
  const walk = await walkBack(history, previous, stop);
  assert.equal(walk.kind, 'found');
  const events: Document[] = [];
  const parts = { history, chain: walk.kind === 'found' ? walk.chain : [], commit: BSON.serialize(commit) };
  for await (const { bytes, ...piece } of pieces(parts, stop)) {
    events.push(...jsonEvents(run(plan(), bytes, { piece })));
  }
  return events;
}

test('the pieces of a chain hold its operations in order, at the position of its last entry', async () => {
  const first = part(2, none, [0, 1], { partialTxn: true });
  const second = part(5, behind(2), [2], { partialTxn: true });
  const last = part(9, behind(5), [3, 4], { count: Long.fromNumber(5) });
  const events = await eventsOf(historyOf([first, second]), at(5), last);
  assert.deepEqual(
    events.map((event) => [event['_id'], event['documentKey']._id, event['txnNumber']]),
    [0, 1, 2, 3, 4].map((n) => [`shop:${START_SECONDS}.9.${n}`, n, 5]),
  );
  assert.deepEqual(events[0]!['lsid'].id.$binary.subType, '04');
});

test('a prepared transaction comes at its commit, whose entry holds no operations', async () => {
  const prepared = part(2, none, [0, 1], { prepare: true });
  const commit = entry(7, { op: 'c', ns: 'admin.$cmd', o: { commitTransaction: 1 }, ...session, ...behind(2) });
  const events = await eventsOf(historyOf([prepared]), at(2), commit);
  assert.deepEqual(
    events.map(({ _id }) => _id),
    [`shop:${START_SECONDS}.7.0`, `shop:${START_SECONDS}.7.1`],
  );
});

test('a large entry is cut into pieces of a few MiB, and one operation is never cut', async () => {
  const ids = Array.from({ length: 40 }, (_, n) => n);
  const first = part(2, none, ids, { partialTxn: true }, 300_000);
  const huge = part(3, behind(2), [40], { count: Long.fromNumber(41) }, 9_000_000);
  const sizes: number[] = [];
  const indexes: number[] = [];
  const written: unknown[] = [];
  const parts = { history: historyOf([first]), chain: [at(2)], commit: BSON.serialize(huge) };
  for await (const { bytes, firstIndex, part } of pieces(parts, stop)) {
    sizes.push(bytes.length);
    indexes.push(firstIndex);
    written.push([part.ts.increment, part.from]);
  }
  assert.deepEqual(indexes, [0, 6, 12, 18, 24, 30, 36, 40]);
  // Which number each piece's first operation has in its own entry.
  assert.deepEqual(written, [...[0, 6, 12, 18, 24, 30, 36].map((from) => [2, from]), [3, 0]]);
  assert.ok(sizes.slice(0, -1).every((size) => size < 2.2 * 2 ** 20));
});

test('a part that leaves the oplog between the walk and its turn is noticed', async () => {
  const last = part(9, behind(5), [3], { count: Long.fromNumber(4) });
  const all = pieces({ history: historyOf([]), chain: [at(5)], commit: BSON.serialize(last) }, stop);
  await assert.rejects(all.next(), EntryGoneError);
});

test('a part that cannot be taken apart ends the pieces with the number of its first operation', async () => {
  const damaged = BSON.serialize(part(5, behind(2), [2], { partialTxn: true }));
  // The length of the only operation, behind the heads of `o`, `applyOps` and the element itself.
  const place = Buffer.from(damaged).indexOf('applyOps') + 'applyOps'.length + 1 + 4 + 3;
  damaged[place] = damaged[place]! + 1;
  const whole = historyOf([part(2, none, [0, 1], { partialTxn: true })]);
  const history: OplogHistory = {
    ...whole,
    entry: async (where, signal) =>
      where.ts.increment === 5 ? { kind: 'found', value: damaged } : whole.entry(where, signal),
  };
  const last = BSON.serialize(part(9, behind(5), [3], { count: Long.fromNumber(4) }));
  const all = pieces({ history, chain: [at(2), at(5)], commit: last }, stop);
  assert.deepEqual((await all.next()).value?.firstIndex, 0);
  await assert.rejects(all.next(), (error) => error instanceof DamagedPartError && error.firstIndex === 2);
});

describe('a transaction whose beginning is gone', () => {
  const last = part(9, behind(5), [3], { count: Long.fromNumber(4) });
  const bytes = batchOf([last]);
  const deliver = async (onPositionLost: 'stop' | 'earliest' | 'latest', torn?: OpTime): Promise<GapRecord[]> => {
    const gaps: GapRecord[] = [];
    const source = { name: 'shop', history: historyOf([]) };
    const options = {
      source,
      config: { name: 'shop', onPositionLost },
      members: new Members([{ config: { name: 'orders' } } as Route]),
      checkpoints: { addGap: async (gap: GapRecord) => void gaps.push(gap) },
      log: { error: () => {} },
    } as unknown as ConstructorParameters<typeof Transactions>[0];
    const commit = {
      records: 0,
      parked: 0,
      before: at(8),
      at: at(9),
      previous: at(5),
      start: 7,
      end: bytes.length - 1,
    };
    await new Transactions(options).deliver(
      {
        commit,
        batch: { bytes, entries: 1, last: at(9) },
        job: { plan: new SharedPlan(plan()), wallTime: true, collated: [] },
        torn: torn?.ts,
        isDone: false,
        deliver: (result: BatchResult) => assert.fail(`delivered ${result.entries}`),
      },
      stop,
    );
    return gaps;
  };

  test('where its beginning is gone the position is lost, or a gap goes on record, as the policy says', async () => {
    await assert.rejects(deliver('stop'), (error: unknown) => {
      assert.ok(error instanceof PositionLostError);
      assert.equal(error.reason, 'transaction');
      assert.match(error.message, new RegExp(`took effect at ${START_SECONDS}:9 has a part at ${START_SECONDS}:5`));
      return true;
    });
    for (const policy of ['earliest', 'latest'] as const) {
      const [gap] = await deliver(policy);
      const expected = { source: 'shop', subscription: 'orders', from: at(5).ts, to: at(9).ts, reason: 'transaction' };
      assert.deepEqual(gap, { ...expected, at: gap!.at });
    }
  });

  test('begun at the oldest entry, a transaction torn there is on record and no second loss', async () => {
    assert.equal((await deliver('stop', at(6))).length, 1);
    await assert.rejects(deliver('stop', at(5)), PositionLostError);
  });
});
