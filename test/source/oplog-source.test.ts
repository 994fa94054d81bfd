import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import { MongoMemoryServer } from 'mongodb-memory-server-core';
import { PositionLostError, UserError } from '../../src/errors.ts';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import { compareTs } from '../../src/source/position.ts';
import type { OpTime, ResumePoint } from '../../src/source/position.ts';
import { giveBack, insert, numbersIn, sourceOver, until, upTo } from './harness.ts';
import type { Over } from './harness.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { mongodBinary } from '../servers/mongod-binary.ts';

/** Long enough for everything here: a read that should have failed ends at last, and its test fails. */
const patience = AbortSignal.timeout(180_000);

/** Reads `coll` into `into` until it is stopped. */
async function readInto(into: number[], { source, budget }: Over, point: ResumePoint, coll: string, stop: AbortSignal) {
  let last: OpTime | undefined;
  for await (const batch of source.read(point, stop)) {
    into.push(...numbersIn(batch, coll));
    giveBack(budget, batch);
    last = batch.last ?? last;
  }
  return last;
}

/** Reads until `count` numbers of `coll` have come. */
async function readSome(over: Over, point: ResumePoint, coll: string, count: number) {
  const numbers: number[] = [];
  let last: OpTime | undefined;
  for await (const batch of over.source.read(point, patience)) {
    numbers.push(...numbersIn(batch, coll));
    giveBack(over.budget, batch);
    last = batch.last ?? last;
    if (numbers.length >= count) break;
  }
  if (last === undefined) throw new Error('nothing was read');
  return { numbers, last };
}

const isLost = (reason: string) => (error: unknown) => error instanceof PositionLostError && error.reason === reason;

async function tailingCursors(client: MongoClient): Promise<unknown[]> {
  const ops = [{ $currentOp: { idleCursors: true, allUsers: true } }, { $match: { 'cursor.tailable': true } }];
  const found = await client
    .db('admin')
    .aggregate([...ops, { $match: { ns: 'local.oplog.rs' } }], { promoteLongs: false })
    .toArray();
  return found.map(({ cursor }) => cursor.cursorId);
}

describe('one member', () => {
  let mongo: MongoServer;
  let client: MongoClient;
  before(async () => {
    mongo = await startMongo({ args: ['--setParameter', 'periodicNoopIntervalSecs=1'] });
    client = await new MongoClient(mongo.uri).connect();
  });
  after(async () => {
    await client.close();
    await mongo.stop();
  });

  test('from earliest everything is read in order, and the budget is whole again afterwards', async (t) => {
    await insert(client, 'a.order', upTo(20_000), 200);
    const over = sourceOver(t, mongo.uri);
    const identity = await over.source.connect(patience);
    assert.match(identity.replicaSetId, /^[0-9a-f]{24}$/);
    assert.equal(identity.setName, 'rs0');
    assert.match(identity.serverVersion, /^\d+\.\d+\.\d+/);
    const point = await over.source.resolve({ kind: 'earliest' }, patience);
    assert.equal(point.kind, 'from');
    const { numbers } = await readSome(over, point, 'a.order', 20_000);
    assert.deepEqual(numbers, upTo(20_000));
    assert.equal(over.budget.used, 0);
    await over.source.close();
    assert.equal(over.source.state, 'stopped');
  });

  test('latest begins behind what is there, and with the next change', async (t) => {
    await insert(client, 'a.latest', upTo(10));
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    assert.equal(point.kind, 'after');
    await over.source.verify(point, patience);
    await insert(client, 'a.latest', upTo(10, 10));
    const { numbers } = await readSome(over, point, 'a.latest', 10);
    assert.deepEqual(numbers, upTo(10, 10));
  });

  test('going on behind the last entry given repeats nothing and misses nothing, wherever it stopped', async (t) => {
    const first = sourceOver(t, mongo.uri);
    await first.source.connect(patience);
    let point = await first.source.resolve({ kind: 'latest' }, patience);
    await first.source.close();
    await insert(client, 'a.resume', upTo(12_000));
    const numbers: number[] = [];
    for (let life = 0; numbers.length < 12_000; life += 1) {
      const over = sourceOver(t, mongo.uri);
      await over.source.connect(patience);
      await over.source.verify(point, patience);
      const read = await readSome(over, point, 'a.resume', 1);
      numbers.push(...read.numbers);
      point = { kind: 'after', ...read.last };
      await over.source.close();
      assert.equal(life < 100, true);
    }
    assert.deepEqual(numbers, upTo(12_000));
  });

  test('an idle set moves the position on, and empty replies keep coming', async (t) => {
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    let moved = 0;
    let empty = 0;
    for await (const batch of over.source.read(point, patience)) {
      giveBack(over.budget, batch);
      if (batch.last === undefined) empty += 1;
      else if (compareTs(batch.last.ts, point.ts) > 0) moved += 1;
      if (moved >= 2 && empty >= 2) break;
    }
    assert.equal(over.source.lastReplyAt !== undefined && performance.now() - over.source.lastReplyAt < 5_000, true);
    await until(() => over.source.window !== undefined);
    assert.equal(compareTs(over.source.window!.majority.ts, point.ts) >= 0, true);
    assert.equal(compareTs(over.source.window!.oldest!.ts, point.ts) < 0, true);
  });

  test('a cursor that somebody kills is opened again at the last entry read', async (t) => {
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    const stop = new AbortController();
    const numbers: number[] = [];
    const reading = readInto(numbers, over, point, 'a.killed', stop.signal);
    for (let round = 0; round < 5; round += 1) {
      await insert(client, 'a.killed', upTo(500, round * 500));
      let ids: unknown[] = [];
      // Between two cursors there is none for a moment.
      await until(async () => (ids = await tailingCursors(client)).length > 0);
      await client.db('local').command({ killCursors: 'oplog.rs', cursors: ids });
      await until(() => numbers.length >= (round + 1) * 500);
    }
    stop.abort();
    await reading;
    assert.deepEqual(numbers, upTo(2_500));
    assert.equal(
      over.lines.some(({ message }) => message?.includes('cursor is gone')),
      true,
    );
    assert.equal(over.reconnects(), 0);
  });

  test('without room in the budget nothing more is asked for, and with room it goes on', async (t) => {
    const over = sourceOver(t, mongo.uri, { budget: new ByteBudget(1 << 20) });
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    await insert(client, 'a.held', upTo(20_000), 300);
    const stop = new AbortController();
    const numbers: number[] = [];
    let kept = 0;
    const reading = (async () => {
      for await (const batch of over.source.read(point, stop.signal)) {
        numbers.push(...numbersIn(batch, 'a.held'));
        if (batch.entries > 0) kept += batch.bytes.byteLength * 2;
      }
    })();
    await until(() => over.source.state === 'held');
    const before = numbers.length;
    assert.equal(before < 20_000, true);
    assert.equal(over.budget.used, kept);
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal(numbers.length, before);
    // What was read is given back bit by bit; each time there is room for another reply.
    while (numbers.length < 20_000) {
      const spent = kept;
      kept = 0;
      over.budget.give(spent);
      await until(() => kept > 0);
    }
    stop.abort();
    await reading;
    assert.deepEqual(numbers, upTo(20_000));
  });

  test('a wrong term is another history, a boundary before the oldest entry is truncated', async (t) => {
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const latest = await over.source.resolve({ kind: 'latest' }, patience);
    const diverged = { kind: 'after', ts: latest.ts, t: 77 } as const;
    await assert.rejects(over.source.verify(diverged, patience), isLost('diverged'));
    assert.equal(over.source.state, 'position_lost');
    const early = { kind: 'from', ts: { seconds: 1_000_000_000, increment: 0 } } as const;
    await assert.rejects(readSome(over, early, 'a.none', 1), isLost('truncated'));
    await over.source.verify({ kind: 'from', ts: { seconds: latest.ts.seconds + 3_600, increment: 0 } }, patience);
  });

  test('a position ahead of the whole set is given up after 15 s, not before', async (t) => {
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const latest = await over.source.resolve({ kind: 'latest' }, patience);
    const began = performance.now();
    const ahead = { kind: 'after', ts: { seconds: latest.ts.seconds + 3_600, increment: 1 }, t: 1 } as const;
    await assert.rejects(over.source.verify(ahead, patience), PositionLostError);
    assert.equal(performance.now() - began > 14_000, true);
  });

  test('stopping ends a waiting read at once and leaves no cursor on the server', async (t) => {
    const over = sourceOver(t, mongo.uri, { awaitMs: 10_000 });
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    const stop = new AbortController();
    const reading = readInto([], over, point, 'a.none', stop.signal);
    await until(() => over.source.state === 'reading');
    const began = performance.now();
    stop.abort();
    await reading;
    await over.source.close();
    assert.equal(performance.now() - began < 2_000, true);
    await until(async () => (await tailingCursors(client)).length === 0);
  });

  test('collections with a default collation are named', async (t) => {
    await client.db('b').createCollection('de', { collation: { locale: 'de', strength: 2 } });
    await client.db('b').createCollection('other', { collation: { locale: 'de' } });
    await client.db('b').createCollection('plain');
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    assert.deepEqual(await over.source.collatedNamespaces((ns) => ns !== 'b.other', patience), ['b.de']);
  });

  test('a mongod that is killed in mid-flow and started again only makes a pause', async (t) => {
    const over = sourceOver(t, mongo.uri);
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    const stop = new AbortController();
    const numbers: number[] = [];
    const reading = readInto(numbers, over, point, 'a.restart', stop.signal);
    await insert(client, 'a.restart', upTo(5_000));
    await until(() => numbers.length > 0);
    await mongo.kill();
    await until(() => over.source.state === 'reconnecting');
    await mongo.restart();
    await insert(client, 'a.restart', [5_000]);
    const written = performance.now();
    await until(() => numbers.includes(5_000));
    t.diagnostic(`read ${Math.round(performance.now() - written)} ms after it could be written`);
    assert.equal(performance.now() - written < 2_000, true);
    stop.abort();
    await reading;
    assert.deepEqual(numbers, upTo(5_001));
    assert.equal(over.reconnects() >= 1, true);
  });
});

test('an oplog that has rolled over its position is recognised, at a start and while running', async (t) => {
  const mongo = await startMongo({ args: ['--oplogSize', '1', '--syncdelay', '1'] });
  t.after(() => mongo.stop());
  const client = await new MongoClient(mongo.uri).connect();
  const over = sourceOver(t, mongo.uri, { budget: new ByteBudget(1) });
  try {
    await over.source.connect(patience);
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    const reading = over.source.read(point, patience);
    await insert(client, 'a.roll', upTo(10));
    while (numbersIn((await reading.next()).value, 'a.roll').length === 0);
    const isOver = async (): Promise<boolean> => {
      await insert(client, 'a.roll', upTo(2_000), 4_000);
      const earliest = await over.source.resolve({ kind: 'earliest' }, patience);
      return compareTs(earliest.ts, point.ts) > 0;
    };
    await until(isOver, 120_000);
    await assert.rejects(over.source.verify(point, patience), isLost('truncated'));
    // The reader was held all the while: with room it finds its cursor overtaken.
    over.budget.give(over.budget.used);
    await assert.rejects(async () => {
      for (;;) giveBack(over.budget, (await reading.next()).value);
    }, PositionLostError);
  } finally {
    await over.source.close();
    await client.close();
  }
});

test('when the member that is read dies or hangs, another is read from, without a gap', async (t) => {
  const mongo = await startMongo({ members: 3 });
  t.after(() => mongo.stop());
  // Its own patience must be shorter than what is measured.
  const hasty = { socketTimeoutMS: 2_000, connectTimeoutMS: 1_000, heartbeatFrequencyMS: 500 };
  const client = await new MongoClient(mongo.uri, hasty).connect();
  t.after(() => client.close());
  const over = sourceOver(t, mongo.uri);
  await over.source.connect(patience);
  const point = await over.source.resolve({ kind: 'latest' }, patience);
  const stop = new AbortController();
  const numbers: number[] = [];
  const reading = readInto(numbers, over, point, 'a.failover', stop.signal);
  await insert(client, 'a.failover', upTo(1_000));
  await until(() => over.source.window !== undefined && numbers.length === 1_000);
  const index = (): number =>
    mongo.uri
      .split('?')[0]!
      .replace(/^.*\/\/|\/$/g, '')
      .split(',')
      .indexOf(over.source.window!.member);

  const dead = index();
  await mongo.kill(dead);
  await insert(client, 'a.failover', upTo(1_000, 1_000));
  await until(() => numbers.length === 2_000);
  await until(() => index() !== dead);
  await mongo.restart(dead);

  // A stopped process keeps its connections open and never answers: only the deadline shows it.
  const hung = mongo.pids[index()]!;
  process.kill(hung, 'SIGSTOP');
  try {
    const began = performance.now();
    await until(() => tryInsert(client, 'a.failover', 2_000), 60_000);
    const written = performance.now();
    await until(() => numbers.includes(2_000), 60_000);
    const ms = [written - began, performance.now() - written].map(Math.round);
    t.diagnostic(`hung member: writable again after ${ms[0]} ms, read ${ms[1]} ms later`);
  } finally {
    process.kill(hung, 'SIGCONT');
  }
  stop.abort();
  await reading;
  // A write that timed out may have been done all the same: 2,000 can be there twice.
  assert.deepEqual(numbers.slice(0, 2_001), upTo(2_001));
  assert.equal(over.reconnects() >= 2, true);
});

async function tryInsert(client: MongoClient, ns: string, n: number): Promise<boolean> {
  try {
    await insert(client, ns, [n]);
    return true;
  } catch {
    return false;
  }
}

test('a standalone is refused, also by a URI that names a set', async (t) => {
  const mongod = await MongoMemoryServer.create({ binary: await mongodBinary() });
  t.after(() => mongod.stop());
  const address = mongod.getUri();
  for (const uri of [address, `${address}?directConnection=true`, `${address}?replicaSet=rs0`]) {
    const { source } = sourceOver(t, uri);
    await assert.rejects(
      source.connect(patience),
      (error) => error instanceof UserError && error.code === 'not-a-replica-set',
    );
  }
});
