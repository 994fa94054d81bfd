import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Document } from 'bson';
import { MongoClient, Timestamp } from 'mongodb';
import { PositionLostError, UserError } from '../../src/errors.ts';
import { ByteBudget } from '../../src/source/byte-budget.ts';
import { compareTs } from '../../src/source/position.ts';
import type { ResumePoint } from '../../src/source/position.ts';
import { parseResumeToken } from '../../src/source/resume-token.ts';
import { ServersUnavailable, startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { insert, until, upTo } from './harness.ts';
import { readEvents, streamOver } from './stream-harness.ts';

const patience = AbortSignal.timeout(150_000);
const LATEST = { kind: 'latest' } as const;
const numbers = (events: readonly Document[], coll: string): number[] =>
  events
    .filter(({ operationType, ns }) => operationType === 'insert' && ns.coll === coll)
    .map((it) => it['fullDocument'].n);

describe('one member', () => {
  let mongo: MongoServer;
  let client: MongoClient;
  before(async () => {
    mongo = await startMongo({ args: ['--setParameter', 'periodicNoopIntervalSecs=1'] });
    client = await new MongoClient(mongo.uri).connect();
  });
  after(async () => {
    await client?.close();
    await mongo?.stop();
  });

  test('what is written after `latest` comes in order, and the budget is whole again afterwards', async (t) => {
    const over = streamOver(t, mongo.uri, {}, { budget: new ByteBudget(1 << 20) });
    const identity = await over.source.connect(patience);
    assert.match(identity.replicaSetId, /^[0-9a-f]{24}$/);
    const point = await over.source.resolve(LATEST, patience);
    assert.equal(point.kind, 'token');
    await insert(client, 'a.order', upTo(20_000), 200);
    const { events } = await readEvents(over, point, (all) => all.length >= 20_000);
    assert.deepEqual(numbers(events, 'order'), upTo(20_000));
    await over.source.close();
    assert.equal(over.budget.used, 0);
    assert.equal(over.source.state, 'stopped');
  });

  test('the position moves on while nothing happens, and can be gone on from', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    let at: ResumePoint | undefined;
    for await (const batch of over.source.read(point, patience)) {
      if (batch.last === undefined || compareTs(batch.last.ts, point.ts) <= 0) continue;
      assert.equal(batch.entries, 0);
      at = { kind: 'token', ts: batch.last.ts, token: batch.last.token! };
      break;
    }
    assert.equal(parseResumeToken(at?.kind === 'token' ? at.token.data : '')?.event, false);
    await insert(client, 'a.idle', [1]);
    await over.source.verify(at!, patience);
    const { events } = await readEvents(over, at!, (all) => all.length >= 1);
    assert.deepEqual(numbers(events, 'idle'), [1]);
    await until(() => over.source.window?.oldest !== undefined);
  });

  test('reading goes on behind every place in a transaction', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    await client.db('a').collection('tx').insertOne({ n: -1 });
    await client.withSession(async (session) =>
      session.withTransaction(async () => {
        for (const n of upTo(5)) await client.db('a').collection('tx').insertOne({ n }, { session });
      }),
    );
    const { events } = await readEvents(over, point, (all) => all.length >= 6);
    for (const [place, { _id: id, clusterTime }] of events.entries()) {
      const index = parseResumeToken(id._data)!.index;
      assert.equal(index, Math.max(0, place - 1));
      const ts = { seconds: (clusterTime as Timestamp).t, increment: (clusterTime as Timestamp).i };
      const behind = { kind: 'token', ts, token: { data: id._data, index, watch: 'deployment' } } as const;
      await over.source.verify(behind, patience);
      if (place === 5) break;
      const rest = await readEvents(over, behind, (all) => all.length >= 5 - place);
      assert.deepEqual(numbers(rest.events, 'tx'), upTo(5 - place, place));
    }
  });

  test('a boundary begins with what happened at that very time', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    await insert(client, 'a.boundary', [1, 2, 3]);
    const { events } = await readEvents(over, point, (all) => all.length >= 3);
    const { t: seconds, i: increment } = events[1]!['clusterTime'] as Timestamp;
    const again = await readEvents(over, { kind: 'from', ts: { seconds, increment } }, (all) => all.length >= 2);
    assert.deepEqual(numbers(again.events, 'boundary'), [2, 3]);
  });

  test('the stream of a collection that is dropped goes on when it comes back, also after a new start', async (t) => {
    const over = streamOver(t, mongo.uri, { watch: 'b.gone' });
    const point = await over.source.resolve(LATEST, patience);
    await insert(client, 'b.gone', [1]);
    await insert(client, 'b.other', [99]);
    await client.db('b').collection('gone').drop();
    await insert(client, 'b.gone', [2]);
    await client.db('b').collection('gone').drop();
    await insert(client, 'b.gone', [3]);
    const { events } = await readEvents(over, point, (all) => numbers(all, 'gone').length >= 3);
    const kinds = events.map(({ operationType }) => operationType);
    assert.deepEqual(kinds, ['insert', 'drop', 'invalidate', 'insert', 'drop', 'invalidate', 'insert']);

    const invalidated = events[2]!;
    const { t: seconds, i: increment } = invalidated['clusterTime'] as Timestamp;
    const token = { data: invalidated['_id']._data, index: 0, watch: 'b.gone' };
    const behind = { kind: 'token', ts: { seconds, increment }, token } as const;
    await over.source.verify(behind, patience);
    const rest = await readEvents(over, behind, (all) => numbers(all, 'gone').length >= 2);
    assert.deepEqual(numbers(rest.events, 'gone'), [2, 3]);
  });

  test('a cursor that somebody kills is opened again behind the last event', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    let killed = 0;
    const writing = (async () => {
      for (const n of upTo(20)) {
        await insert(client, 'a.killed', upTo(10, n * 10));
        await pause(30);
        const open = await client
          .db('admin')
          .aggregate([{ $currentOp: { idleCursors: true } }, { $match: { 'cursor.tailable': true } }], {
            promoteLongs: false,
          })
          .toArray();
        for (const { ns, cursor } of open) {
          if (!String(ns).startsWith('admin.$cmd')) continue;
          await client.db('admin').command({ killCursors: '$cmd.aggregate', cursors: [cursor.cursorId] });
          killed += 1;
        }
      }
    })();
    const { events } = await readEvents(over, point, (all) => all.length >= 200);
    await writing;
    assert.deepEqual(numbers(events, 'killed'), upTo(200));
    assert.ok(killed > 0);
  });

  test('the member is waited for when it goes, and nothing is missing afterwards', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    const reading = readEvents(over, point, (all) => all.length >= 20);
    await insert(client, 'a.restart', upTo(10));
    await mongo.kill();
    await until(() => over.source.state === 'reconnecting');
    await mongo.restart();
    await insert(client, 'a.restart', upTo(10, 10));
    assert.deepEqual(numbers((await reading).events, 'restart'), upTo(20));
  });

  test('a stream with other events goes on behind each of them, and gives none again', async (t) => {
    const kindsOf = (events: readonly Document[]): string[] => events.map((it) => it['operationType']);
    const wide = streamOver(t, mongo.uri, { watch: 'e' }, { expanded: true });
    const point = await wide.source.resolve(LATEST, patience);
    await client.db('e').createCollection('made');
    const { at } = await readEvents(wide, point, (all) => all.length >= 1);
    await insert(client, 'e.made', [1, 2]);
    const narrow = streamOver(t, mongo.uri, { watch: 'e' });
    await narrow.source.verify(at, patience);
    const { events, at: inserted } = await readEvents(narrow, at, (all) => all.length >= 2);
    assert.deepEqual(kindsOf(events), ['insert', 'insert']);
    await client.db('e').collection('made').createIndex({ n: 1 });
    const rest = await readEvents(wide, inserted, (all) => all.length >= 1);
    assert.deepEqual(kindsOf(rest.events), ['createIndexes']);
  });

  test('everything before an event that the server cannot make is given', async (t) => {
    const over = streamOver(t, mongo.uri, { watch: 'v' });
    const versions = client.db('v').collection<Document & { _id: number }>('versions');
    const point = await over.source.resolve(LATEST, patience);
    await insert(client, 'v.versions', upTo(20));
    await versions.insertOne({ _id: 1 });
    await versions.updateOne({ _id: 1 }, [{ $replaceWith: { $literal: { _id: 1, $v: 2, y: 2 } } }]);
    await insert(client, 'v.versions', [20]);
    const { events } = await readEvents(over, point, (all) => all.length >= 21);
    assert.deepEqual(numbers(events.slice(0, 20), 'versions'), upTo(20));
    assert.equal(events.length, 21);
    assert.equal(
      over.lines.some(({ message }) => message?.includes('cannot give an event')),
      true,
    );
  });

  test('a token that this history does not know is a lost position', async (t) => {
    const over = streamOver(t, mongo.uri);
    const point = await over.source.resolve(LATEST, patience);
    await insert(client, 'a.lost', [1, 2]);
    const { events } = await readEvents(over, point, (all) => all.length >= 2);
    const { t: seconds, i: increment } = events[0]!['clusterTime'] as Timestamp;
    const data: string = events[0]!['_id']._data.replace('2C0100296E', '2C01002B046E');
    const ts = { seconds, increment };
    const unknown = { kind: 'token', ts, token: { data, index: 2, watch: 'deployment' } } as const;
    const error: unknown = await over.source.verify(unknown, patience).catch((lost: unknown) => lost);
    assert.ok(error instanceof PositionLostError);
    assert.equal(error.reason, 'diverged');
    assert.match(error.message, /not in this server's history/);
    await assert.rejects(
      readEvents(over, unknown, () => false),
      PositionLostError,
    );
  });
});

test('a position that has left the oplog is lost, at a start and while running', { timeout: 180_000 }, async (t) => {
  // The smallest oplog there is, and cut to its size each second.
  const mongo = await startMongo({ args: ['--oplogSize', '1', '--syncdelay', '1'] });
  t.after(() => mongo.stop());
  const client = await new MongoClient(mongo.uri).connect();
  t.after(() => client.close());
  const over = streamOver(t, mongo.uri);
  const point = await over.source.resolve(LATEST, patience);
  await insert(client, 'a.first', [1]);
  const { at } = await readEvents(over, point, (all) => all.length >= 1);
  const oldest = async (): Promise<Timestamp> =>
    (await client
      .db('local')
      .collection('oplog.rs')
      .findOne({}, { sort: { $natural: 1 } }))!['ts'];
  const deadline = performance.now() + 90_000;
  while ((await oldest()).t <= at.ts.seconds && performance.now() < deadline) {
    await insert(client, 'a.fill', upTo(50), 10_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const lost of [at, { kind: 'from', ts: at.ts } as const]) {
    const error: unknown = await over.source.verify(lost, patience).catch((found: unknown) => found);
    assert.ok(error instanceof PositionLostError, String(error));
    assert.equal(error.reason, 'truncated');
    await assert.rejects(
      readEvents(over, lost, () => false),
      PositionLostError,
    );
  }
});

/** An event with both images, which is over 16 MB; others on both sides of it. */
async function writeOversize(client: MongoClient): Promise<void> {
  const big = client.db('a').collection<Document & { _id: number }>('big');
  const filling = 'x'.repeat(9 << 20);
  await client.db('a').createCollection('big', { changeStreamPreAndPostImages: { enabled: true } });
  await big.insertMany([
    { _id: 1, n: 1 },
    { _id: 2, n: 2, filling },
  ]);
  await big.replaceOne({ _id: 2 }, { n: 3, filling });
  await big.insertMany([
    { _id: 3, n: 4 },
    { _id: 4, n: 5 },
  ]);
  await big.updateOne({ _id: 4 }, { $set: { n: 6 } });
}

describe('an event that is too large to be sent', () => {
  let mongo: MongoServer;
  let client: MongoClient;
  before(async () => {
    mongo = await startMongo();
    client = await new MongoClient(mongo.uri).connect();
  });
  after(async () => {
    await client?.close();
    await mongo?.stop();
  });

  test('is stepped over and comes marked, without its documents; all others come as they are', async (t) => {
    const over = streamOver(t, mongo.uri, { fullDocumentBeforeChange: 'whenAvailable', fullDocument: 'whenAvailable' });
    const point = await over.source.resolve(LATEST, patience);
    await writeOversize(client);
    const { events } = await readEvents(over, point, (all) => all.length >= 6);
    assert.deepEqual(
      events.map((event) => [event['operationType'], event['documentKey']._id, event['tailrace.tooLarge'] ?? false]),
      [
        ['insert', 1, false],
        ['insert', 2, false],
        ['replace', 2, true],
        ['insert', 3, false],
        ['insert', 4, false],
        ['update', 4, false],
      ],
    );
    assert.deepEqual(Object.keys(events[2]!).includes('fullDocument'), false);
    assert.equal(events[5]!['fullDocumentBeforeChange'].n, 5);
    assert.equal(events[5]!['fullDocument'].n, 6);
    // Also where reading begins right before it.
    const { t: seconds, i: increment } = events[2]!['clusterTime'] as Timestamp;
    const again = await readEvents(over, { kind: 'from', ts: { seconds, increment } }, (all) => all.length >= 4);
    assert.deepEqual(
      again.events.map((event) => event['documentKey']._id),
      [2, 3, 4, 4],
    );
    await over.source.close();
    assert.equal(over.budget.used, 0);
  });

  test('ends the source with what can be done about it, where the user wants that', async (t) => {
    const over = streamOver(t, mongo.uri, { fullDocumentBeforeChange: 'whenAvailable', onOversizeEvent: 'stop' });
    const point = await over.source.resolve(LATEST, patience);
    await client.db('a').collection('big').drop();
    await writeOversize(client);
    const error: unknown = await readEvents(over, point, () => false).catch((found: unknown) => found);
    assert.ok(error instanceof UserError, String(error));
    assert.equal(error.code, 'event-too-large');
    assert.match(error.message, /onOversizeEvent: park/);
  });
});

test('an event that the server splits comes whole, with its fields in order', { timeout: 180_000 }, async (t) => {
  const mongo = await startMongo({ version: '6.0.27' }).catch((error: unknown) => {
    if (!(error instanceof ServersUnavailable)) throw error;
    t.skip(error.message);
  });
  if (mongo === undefined) return;
  t.after(() => mongo.stop());
  const client = await new MongoClient(mongo.uri).connect();
  t.after(() => client.close());
  const over = streamOver(t, mongo.uri, { fullDocumentBeforeChange: 'whenAvailable' }, { expanded: true });
  const point = await over.source.resolve(LATEST, patience);
  await writeOversize(client);
  const { events, at } = await readEvents(over, point, (all) => all.length >= 7);
  const kinds = events.map(({ operationType }) => operationType);
  assert.deepEqual(kinds, ['create', 'insert', 'insert', 'replace', 'insert', 'insert', 'update']);
  const large = events[3]!;
  assert.deepEqual(Object.keys(large), [
    '_id',
    'operationType',
    'clusterTime',
    'collectionUUID',
    'wallTime',
    'fullDocument',
    'ns',
    'documentKey',
    'fullDocumentBeforeChange',
  ]);
  assert.equal(large['fullDocument'].filling.length, 9 << 20);
  assert.equal(large['fullDocumentBeforeChange'].filling.length, 9 << 20);
  await over.source.verify(at, patience);
  await over.source.close();
  assert.equal(over.budget.used, 0);
});

test(
  'behind an event that was split, reading goes on even when it cannot be split again',
  { timeout: 180_000 },
  async (t) => {
    const mongo = await startMongo({ version: '6.0.27' }).catch((error: unknown) => {
      if (!(error instanceof ServersUnavailable)) throw error;
      t.skip(error.message);
    });
    if (mongo === undefined) return;
    t.after(() => mongo.stop());
    const client = await new MongoClient(mongo.uri).connect();
    t.after(() => client.close());
    const over = streamOver(t, mongo.uri, { fullDocument: 'updateLookup' });
    const big = client.db('a').collection<Document & { _id: number }>('big');
    await big.insertOne({ _id: 1 });
    const point = await over.source.resolve(LATEST, patience);
    await big.updateOne({ _id: 1 }, { $set: { filling: 'x'.repeat(9 << 20) } });
    const { events, at } = await readEvents(over, point, (all) => all.length >= 1);
    assert.equal(events[0]!['fullDocument'].filling.length, 9 << 20);
    await big.deleteOne({ _id: 1 });
    await over.source.verify(at, patience);
    const rest = await readEvents(over, at, (all) => all.length >= 1);
    assert.deepEqual(
      rest.events.map(({ operationType }) => operationType),
      ['delete'],
    );
  },
);
