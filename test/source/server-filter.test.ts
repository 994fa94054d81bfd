import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import * as BSON from 'bson';
import { MongoClient } from 'mongodb';
import { PositionLostError } from '../../src/errors.ts';
import { namespaceFilter } from '../../src/source/namespace-filter.ts';
import { compareTs, pointAfter } from '../../src/source/position.ts';
import type { OpTime, ResumePoint } from '../../src/source/position.ts';
import { giveBack, insert, memoryLog, numbersIn, sourceOver, until, upTo } from './harness.ts';
import type { Over } from './harness.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';

const patience = AbortSignal.timeout(180_000);

function filtered(t: TestContext, uri: string, namespaces: readonly string[], expanded = false): Over {
  const { log } = memoryLog();
  const filter = namespaceFilter({ source: 'shop', subscriptions: [{ namespaces, expanded }], log });
  assert.notEqual(filter, undefined);
  return sourceOver(t, uri, { filter });
}

type Entry = Readonly<Record<string, any>>; // eslint-disable-line @typescript-eslint/no-explicit-any

/** All entries behind `point`, until one of them is the last. */
async function entriesUntil({ source, budget }: Over, point: ResumePoint, isLast: (entry: Entry) => boolean) {
  const entries: Entry[] = [];
  for await (const batch of source.read(point, patience)) {
    entries.push(...(Object.values(BSON.deserialize(batch.bytes)) as Entry[]));
    giveBack(budget, batch);
    if (entries.some(isLast)) break;
  }
  return entries;
}

/** Writes to a collection that nobody wants, so often that no server thinks itself idle. */
function keepBusy(client: MongoClient): { stop: () => Promise<void> } {
  const stop = new AbortController();
  const busy = (async () => {
    for (let n = 0; !stop.signal.aborted; n++)
      await client.db('other').collection<{ n: number }>('busy').insertOne({ n });
  })();
  return {
    stop: () => {
      stop.abort();
      return busy;
    },
  };
}

describe('an oplog that the server filters', () => {
  let mongo: MongoServer;
  let client: MongoClient;
  before(async () => {
    mongo = await startMongo();
    client = await new MongoClient(mongo.uri).connect();
  });
  after(async () => {
    await client.close();
    await mongo.stop();
  });

  test('gives what is wanted, commands, transactions and views, and nothing of other collections', async (t) => {
    for (const ns of ['a.exact', 'a.exacter', 'p.x+y', 'p.x+y.z', 'p.xxy', 'shop.orders', 'shopXorders.x']) {
      await insert(client, ns, []);
      await client.db(ns.split('.')[0]).createCollection(ns.slice(ns.indexOf('.') + 1));
    }
    const over = filtered(t, mongo.uri, ['a.exact', 'p.x+y*', 'shop.*', '!shop.tmp'], true);
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    await insert(client, 'a.exacter', upTo(500));
    await insert(client, 'a.exact', upTo(10));
    await insert(client, 'p.xxy', upTo(500));
    await client.db('p').collection('x+y').insertOne({ n: 1 });
    await client.db('p').collection('x+y.z').insertOne({ n: 2 });
    await insert(client, 'shopXorders.x', upTo(500));
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await client.db('shop').collection('orders').insertOne({ n: 1 }, { session });
        await client.db('other').collection('mixed').insertOne({ n: 2 }, { session });
      }),
    );
    await client.db('v').createCollection('view', { viewOn: 'base', pipeline: [] });
    await client.db('elsewhere').createCollection('created');
    await client
      .db('shop')
      .collection('orders')
      .updateOne({ n: 1 }, { $set: { last: true } });
    await client.db('shop').collection('orders').deleteOne({ n: 1 });

    const entries = await entriesUntil(over, point, ({ op, ns }) => op === 'd' && ns === 'shop.orders');
    const changes = entries.filter(({ op }) => ['i', 'u', 'd'].includes(op));
    const seen = new Map<string, number>();
    for (const { ns } of changes) seen.set(ns, (seen.get(ns) ?? 0) + 1);
    assert.deepEqual(Object.fromEntries(seen), {
      'a.exact': 10,
      'p.x+y': 1,
      'p.x+y.z': 1,
      'shop.orders': 2,
      'v.system.views': 1,
    });
    const commands = entries.filter(({ op }) => op === 'c').map(({ o }) => Object.keys(o)[0]);
    assert.ok(commands.includes('applyOps'), commands.join(' '));
    assert.ok(entries.some(({ op, o }) => op === 'c' && o.create === 'created'));
  });

  test('moves the position on while only others write, and going on from there repeats nothing and misses nothing', async (t) => {
    const first = filtered(t, mongo.uri, ['quiet.c']);
    await first.source.connect(patience);
    await insert(client, 'quiet.c', [0]);
    const start = await first.source.resolve({ kind: 'latest' }, patience);
    const busy = keepBusy(client);
    t.after(() => busy.stop());
    let moved: OpTime[] = [];
    let received = 0;
    for await (const batch of first.source.read(start, patience)) {
      giveBack(first.budget, batch);
      received += batch.entries;
      if (batch.entries === 0 && batch.last) moved.push(batch.last);
      if (moved.length === 2) break;
    }
    assert.ok(received <= 5, `${received} entries crossed the wire`);
    moved = [{ ts: start.ts, t: 0 }, ...moved];
    assert.ok(moved.every(({ ts }, k) => k === 0 || compareTs(ts, moved[k - 1]!.ts) > 0));

    await insert(client, 'quiet.c', upTo(100, 1));
    const second = filtered(t, mongo.uri, ['quiet.c']);
    await second.source.connect(patience);
    const numbers: number[] = [];
    for await (const batch of second.source.read(pointAfter(moved.at(-1)!), patience)) {
      numbers.push(...numbersIn(batch, 'quiet.c'));
      giveBack(second.budget, batch);
      if (numbers.includes(100)) break;
    }
    assert.deepEqual(numbers, upTo(100, 1));
  });

  test('misses nothing that is written while the position is being moved on', async (t) => {
    const over = filtered(t, mongo.uri, ['race.c']);
    await over.source.connect(patience);
    const start = await over.source.resolve({ kind: 'latest' }, patience);
    const busy = keepBusy(client);
    t.after(() => busy.stop());
    const numbers: number[] = [];
    let moved = 0;
    let at: OpTime | undefined;
    const writing = until(async () => {
      if (moved < 1) return false;
      await insert(client, 'race.c', upTo(50));
      return true;
    }, 60_000);
    for await (const batch of over.source.read(start, patience)) {
      numbers.push(...numbersIn(batch, 'race.c'));
      giveBack(over.budget, batch);
      if (batch.last) {
        assert.ok(at === undefined || compareTs(batch.last.ts, at.ts) > 0, 'the position goes back');
        at = batch.last;
        if (batch.entries === 0) moved += 1;
      }
      if (numbers.length >= 50 && moved >= 2) break;
    }
    await writing;
    assert.deepEqual(numbers, upTo(50));
  });

  test('a position that is gone is recognised though nothing behind it is wanted', async (t) => {
    const over = filtered(t, mongo.uri, ['never.written']);
    await over.source.connect(patience);
    const busy = keepBusy(client);
    t.after(() => busy.stop());
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    assert.equal(point.kind, 'after');
    const isLost = (reason: string) => (error: unknown) =>
      error instanceof PositionLostError && error.reason === reason;
    await over.source.verify(point, patience);
    const anotherTerm = { kind: 'after', ts: point.ts, t: 77 } as const;
    await assert.rejects(over.source.verify(anotherTerm, patience), isLost('diverged'));
    const noEntry = { kind: 'after', ts: { ...point.ts, increment: point.ts.increment + 1_000_000 }, t: 1 } as const;
    await insert(client, 'other.busy', [0]);
    await until(async () => {
      const { ts } = await over.source.resolve({ kind: 'latest' }, patience);
      return ts.seconds > point.ts.seconds + 1;
    });
    await assert.rejects(over.source.verify(noEntry, patience), isLost('diverged'));
    const tooOld = { kind: 'after', ts: { seconds: 1_000, increment: 1 }, t: 1 } as const;
    await assert.rejects(over.source.verify(tooOld, patience), isLost('truncated'));
    await assert.rejects(
      over.source.verify({ kind: 'from', ts: { seconds: 1_000, increment: 1 } }, patience),
      isLost('truncated'),
    );
  });
});

test('where a subscription wants everything, nothing is filtered and a warning says so', () => {
  for (const pattern of ['*', '**', '*.*']) {
    const { log, lines } = memoryLog();
    const subscriptions = [
      { namespaces: ['a.b'], expanded: false },
      { namespaces: [pattern, '!x.y'], expanded: false },
    ];
    assert.equal(namespaceFilter({ source: 'shop', subscriptions, log }), undefined);
    assert.deepEqual(
      lines.map(({ level }) => level),
      ['warn'],
    );
  }
});
