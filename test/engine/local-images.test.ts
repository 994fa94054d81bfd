/** `images: local`: what events show, held against what the server itself says that the documents were at those times. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, Double, Int32, Long, MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { linesIn } from '../harness/lines-in.ts';
import { untilReading } from '../harness/waiting.ts';
import { Performer } from '../equality/perform.ts';
import { DATABASES, stepsOf } from '../equality/steps.ts';
import type { Step } from '../equality/steps.ts';
import { Wire } from '../equality/wire.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { Writers } from './snapshot-state.ts';
import { ServerStates, withHistory } from './server-states.ts';
import type { Time } from './server-states.ts';

/** More, or on another server: `OPERATIONS=50000 SEED=7 SERVER=4.4.2 npm test -- test/engine/local-images.test.ts`. */
const OPERATIONS = Number(process.env['OPERATIONS'] ?? 1_500);
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
const SERVER = process.env['SERVER'];
const COLLECTIONS = ['c', 'plain', 'with.dots', 'été 日本', 'UPPER', '0'];
const KILLS = Number(process.env['KILLS'] ?? 5);
/** Few, so that each is changed often. */
const IDS = 500;
const SOON_MS = 600_000;

/** An event; documents and values as they are written there. */
interface Event {
  readonly _id: string;
  readonly operationType: string;
  readonly time: Time;
  readonly place: { readonly db: string; readonly coll: string };
  readonly id: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

describe('images out of states that are kept', () => {
  let mongo: MongoServer;
  let client: MongoClient;
  let version: string;

  before(async () => {
    const args = ['--setParameter', 'maxNumberOfTransactionOperationsInSingleOplogEntry=4', ...withHistory(SERVER)];
    mongo = await startMongo({ args, ...(SERVER !== undefined && { version: SERVER }) });
    client = await MongoClient.connect(mongo.uri);
    ({ version } = (await client.db('admin').command({ buildInfo: 1 })) as { version: string });
  });

  after(async () => {
    await client?.close();
    await mongo?.stop();
  });

  const configuration = (namespaces: readonly string[], more: object = {}): object => ({
    sources: { shop: { uri: mongo.uri, start: 'snapshot' } },
    subscriptions: [
      {
        name: 'all',
        namespaces,
        format: 'json-canonical',
        fullDocument: 'whenAvailable',
        fullDocumentBeforeChange: 'whenAvailable',
        images: 'local',
        to: { file: 'all' },
        ...more,
      },
    ],
    pipeline: { partitionBy: [{ namespaces: ['*'], key: 'document' }] },
  });

  async function untilAllIsThere(engine: EngineProcess, db: string): Promise<Time> {
    await client
      .db(db)
      .collection<{ _id: string }>('c')
      .updateOne({ _id: 'mark' }, { $inc: { n: 1 } }, { upsert: true });
    const { operationTime } = await client.db('admin').command({ ping: 1 });
    const last = operationTime as Time;
    await until(
      'everything is delivered',
      async () =>
        Object.values((await engine.status()).subscriptions).every(({ watermark }) => {
          const [t = 0, i = 0] = (watermark ?? '').split(':').map(Number);
          return t > last.t || (t === last.t && i >= last.i);
        }),
      SOON_MS,
    );
    return { t: last.t, i: last.i };
  }

  const untilSnapshotIsOver = async (engine: EngineProcess): Promise<void> =>
    until(
      'the snapshot is complete',
      async () => (await engine.status()).snapshots.some(({ state }) => state === 'done'),
      SOON_MS,
    );

  const eventsOf = async (place: EngineFolder): Promise<Event[]> =>
    (await linesIn(join(place.folder, 'all'))).filter((line) => line.includes('"documentKey":')).map(eventOf);

  /** Every document that an event shows, against the server. Of those that show none, how many there are. */
  async function compare(events: readonly Event[]) {
    await using server = await ServerStates.open(mongo.uri, version);
    /** By document: its last event. */
    const latest = new Map<string, Event>();
    const counts = { events: 0, compared: 0, differing: 0, withoutAfter: 0, withoutBefore: 0, unaskable: 0 };
    let first: unknown;
    const same = (what: string, event: Event, ours: string | undefined, theirs: string | undefined | null): void => {
      if (theirs === null) {
        counts.unaskable += 1;
        return;
      }
      counts.compared += 1;
      if (ours === theirs) return;
      counts.differing += 1;
      first ??= { what, event, ours, theirs };
    };
    const isSameTime = (a: Time, b: Time): boolean => a.t === b.t && a.i === b.i;
    const keyOf = ({ place, id }: Event): string => `${place.db}.${place.coll} ${id}`;
    for (const [n, event] of events.entries()) {
      const { operationType, time, place, id } = event;
      if (operationType === 'snapshot') continue;
      counts.events += 1;
      const earlier = latest.get(keyOf(event));
      latest.set(keyOf(event), event);
      if (operationType !== 'insert') {
        if (event.before === undefined) counts.withoutBefore += 1;
        // Two changes in one transaction: the second sees what the first one made.
        else if (earlier && isSameTime(earlier.time, time)) same('before', event, event.before, earlier.after);
        else same('before', event, event.before, await server.at({ t: time.t, i: time.i - 1 }, place, id));
      }
      if (operationType === 'update' && event.after === undefined) {
        counts.withoutAfter += 1;
        continue;
      }
      const next = events.slice(n + 1, n + 200).find((other) => keyOf(other) === keyOf(event));
      if (next && isSameTime(next.time, time)) continue;
      same('after', event, event.after, await server.at(time, place, id));
    }
    return { ...counts, first };
  }

  async function perform(performer: Performer, steps: readonly Step[]): Promise<void> {
    for (const step of steps) if (step.kind !== 'restart' && step.kind !== 'admin') await performer.perform(step);
  }

  test(`${OPERATIONS} random operations, a snapshot and restarts beside them`, async (t) => {
    t.diagnostic(`SEED=${SEED}, MongoDB ${version}`);
    await using place = await EngineFolder.create(configuration(DATABASES.map((db) => `${db}.*`)));
    for (const db of DATABASES) for (const coll of COLLECTIONS) await client.db(db).createCollection(coll);
    await using wire = await Wire.open(mongo.uri);
    const performer = new Performer(wire);
    const steps = stepsOf({ seed: SEED, operations: OPERATIONS, ddl: false, large: true });
    const part = (from: number, to: number): Step[] =>
      steps.slice(Math.floor(steps.length * from), Math.floor(steps.length * to));
    await perform(performer, part(0, 0.2));
    let engine = place.start();
    await untilReading(engine);
    await perform(performer, part(0.2, 0.4));
    await untilSnapshotIsOver(engine);
    const known = await untilAllIsThere(engine, DATABASES[0]!);
    await perform(performer, part(0.4, 0.6));
    assert.equal(await engine.terminate(), 0);
    engine = place.start();
    await perform(performer, part(0.6, 1));
    await untilAllIsThere(engine, DATABASES[0]!);
    const { subscriptions } = await engine.status();
    assert.equal(await engine.terminate(), 0);
    const events = await eventsOf(place);
    const { first, ...counts } = await compare(events);
    t.diagnostic(`${JSON.stringify(counts)}, ${performer.failed} operations were refused by the server`);
    assert.equal(counts.differing, 0, JSON.stringify(first));
    assert.equal(subscriptions['all']!.parked, 0);
    assert.ok(counts.events > OPERATIONS / 4, `${counts.events} events`);
    assert.deepEqual(
      events.filter((event) => isLacking(event, known)),
      [],
    );
  });

  test(`killed ${KILLS} times under load: what comes again shows the same, and what is shown is exact`, async (t) => {
    const db = 'kills';
    const documents = Array.from({ length: IDS }, (_, _id) => ({ _id, n: 0, text: 'x'.repeat(200), list: [1, 2] }));
    for (const coll of ['c0', 'c1']) await client.db(db).collection<{ _id: number }>(coll).insertMany(documents);
    await using place = await EngineFolder.create(configuration([`${db}.*`], { snapshot: { maxRate: 400 } }));
    const writers = new Writers(client, { db, collections: 2, ids: IDS, seed: SEED, writers: 1 });
    writers.start();
    for (let kill = 0; kill < KILLS; kill++) {
      const engine = place.start();
      await until('it reads', () => engine.log().includes('Reading begins'));
      await sleep(500 + ((kill * 377) % 1_500));
      if (kill % 5 === 4) assert.equal(await engine.terminate(), 0, engine.log());
      else await engine.kill();
    }
    const engine = place.start();
    await untilSnapshotIsOver(engine);
    const known = await untilAllIsThere(engine, db);
    await sleep(500);
    // Once more, with nothing but changes behind the states that are stored.
    await engine.kill();
    const last = place.start();
    await until('it reads', () => last.log().includes('Reading begins'));
    await sleep(1_000);
    await last.kill();
    const end = place.start();
    await writers.stop();
    await untilAllIsThere(end, db);
    assert.equal(await end.terminate(), 0, end.log());
    assert.doesNotMatch(end.log(), /states-forgotten/);

    const all = await eventsOf(place);
    const first = new Map<string, Event>();
    const again = { events: 0, differing: 0, without: 0 };
    for (const event of all) {
      const earlier = first.get(event._id);
      if (!earlier) first.set(event._id, event);
      if (!earlier || event.operationType === 'snapshot') continue;
      again.events += 1;
      for (const part of ['before', 'after'] as const) {
        if (earlier[part] === event[part]) continue;
        if (earlier[part] === undefined || event[part] === undefined) again.without += 1;
        else again.differing += 1;
      }
    }
    const events = [...first.values()];
    const { first: wrong, ...counts } = await compare(events);
    t.diagnostic(`${JSON.stringify(counts)}; again: ${JSON.stringify(again)}; ${writers.writes} writes`);
    assert.equal(counts.differing + again.differing, 0, JSON.stringify(wrong));
    assert.ok(again.events > 0, 'nothing came again');
    assert.deepEqual(
      events.filter((event) => isLacking(event, known)),
      [],
    );
  });

  test('drops, renames, operations that nobody is given, and large transactions', async (t) => {
    const db = 'commands';
    const of = (coll: string) => client.db(db).collection<{ _id: number | string; n?: number; is?: string }>(coll);
    for (const coll of ['a', 'b', 'c', 'm', 'out_n'])
      await of(coll).insertMany([1, 2, 3].map((_id) => ({ _id, n: 0, is: coll })));
    await using place = await EngineFolder.create(
      configuration([`${db}.*`, `!${db}.out*`], {
        operations: ['update', 'delete'],
        where: { any: [{ field: 'fullDocument.n', gte: 0 }, { operation: 'delete' }] },
        whenUnknown: 'skip',
      }),
    );
    const engine = place.start();
    await untilSnapshotIsOver(engine);
    await of('a').updateOne({ _id: 1 }, { $inc: { n: 1 } });
    // Of the same name, and other documents.
    await of('a').drop();
    await of('a').insertOne({ _id: 1, n: 10, is: 'new' });
    await of('a').updateOne({ _id: 1 }, { $inc: { n: 1 } });
    await of('b').rename('a', { dropTarget: true });
    await of('a').updateMany({}, { $inc: { n: 1 } });
    await of('c').replaceOne({ _id: 2 }, { n: 20, is: 'replaced' });
    await of('c').updateOne({ _id: 2 }, { $set: { n: -1 } });
    await of('c').updateOne({ _id: 2 }, { $set: { n: 7 } });
    await client.withSession(async (session) => {
      await session.withTransaction(async () => {
        for (let n = 0; n < 20; n++) await of('c').updateOne({ _id: 3 }, { $inc: { n: 1 } }, { session });
        await of('c').deleteOne({ _id: 1 }, { session });
        await of('c').insertOne({ _id: 1, n: 99, is: 'again' }, { session });
      });
    });
    await of('c').updateOne({ _id: 1 }, { $inc: { n: 1 } });
    // What was done to it under a name that is not followed is not known.
    await of('m').rename('out_m');
    await of('out_m').updateOne({ _id: 2 }, { $inc: { n: 40 } });
    await of('out_m').rename('m');
    await of('m').updateMany({}, { $inc: { n: 1 } });
    await of('m').replaceOne({ _id: 2 }, { n: 50, is: 'm' });
    await of('m').updateMany({}, { $inc: { n: 1 } });
    await of('c').deleteMany({});
    await untilAllIsThere(engine, db);
    assert.equal(await engine.terminate(), 0, engine.log());
    const events = (await eventsOf(place)).filter(({ operationType }) => operationType !== 'snapshot');
    const shown = events
      .filter(({ id }) => id !== '"mark"')
      .map(({ operationType, place: { coll }, before: was, after: is }) => {
        const [b, a] = [was, is].map((text) =>
          text === undefined ? undefined : (BSON.EJSON.parse(text) as { n: number; is: string }),
        );
        return [operationType, coll, b?.is, b?.n, a?.n].join(' ');
      });
    t.diagnostic(shown.join(', '));
    const expected = [
      'update a a 0 1',
      'update a new 10 11',
      'update a b 0 1',
      'update a b 0 1',
      'update a b 0 1',
      'update c replaced -1 7',
      ...Array.from({ length: 20 }, (_, n) => `update c c ${n} ${n + 1}`),
      'delete c c 0 ',
      'update m m 50 51',
      'update c again 99 100',
      'delete c again 100 ',
      'delete c replaced 7 ',
      'delete c c 20 ',
    ];
    assert.deepEqual(shown.toSorted(), expected.toSorted());
  });

  test('an `_id` that becomes the same number of another type, and back, leaves nothing behind', async (t) => {
    const db = 'types';
    const documents = client.db(db).collection<{ _id: string | Int32 | Long | Double; n?: number; is?: string }>('c');
    await documents.insertMany([{ _id: new Int32(1) }, { _id: new Int32(2) }]);
    await using place = await EngineFolder.create(configuration([`${db}.*`]));
    const engine = place.start();
    await untilSnapshotIsOver(engine);
    const fill = 'x'.repeat(300);
    for (const [was, is] of [
      [new Int32(1), new Long(1)],
      [new Int32(2), new Double(2)],
    ] as const) {
      // So long that the server writes no replacement for the ones that follow.
      await documents.updateOne({ _id: was }, { $set: { is: `before ${fill}` } });
      await documents.updateOne({ _id: was }, [{ $set: { _id: is, n: 1 } }]);
      await documents.updateOne({ _id: is }, [{ $set: { _id: was, n: 2 } }]);
      await documents.updateOne({ _id: was }, { $set: { n: 3 } });
      await documents.replaceOne({ _id: was }, { n: 4 });
      await documents.updateOne({ _id: was }, { $set: { n: 5 } });
      await documents.deleteOne({ _id: was });
    }
    await untilAllIsThere(engine, db);
    assert.equal(await engine.terminate(), 0, engine.log());
    const { first, ...counts } = await compare(await eventsOf(place));
    t.diagnostic(JSON.stringify(counts));
    assert.equal(counts.differing, 0, JSON.stringify(first));
    // It is known again from the replacement on.
    assert.ok(counts.compared >= 2 * 6, JSON.stringify(counts));
  });

  test('what does not fit is left out and never stale; a subscription that is set back begins with none', async () => {
    const db = 'bounds';
    const documents = client.db(db).collection<{ _id: number | string; n: number; filling: string }>('c');
    const filling = 'x'.repeat(900);
    await using place = await EngineFolder.create(configuration([`${db}.*`], { localImages: { maxSize: '1MiB' } }));
    let engine = place.start();
    await untilReading(engine);
    for (let from = 0; from < 6_000; from += 500) {
      const some = Array.from({ length: 500 }, (_, n) => ({ _id: from + n, n: 0, filling: `${from + n}${filling}` }));
      await documents.insertMany(some);
      await sleep(100);
    }
    await until('it is full', () => engine.log().includes('states-full'));
    await sleep(1_500);
    await documents.updateMany({}, { $inc: { n: 1 } });
    await untilAllIsThere(engine, db);
    await sleep(1_500);
    const { kept } = (await engine.status()).subscriptions['all']!;
    assert.ok(kept && kept.bytes < 2 * kept.maxBytes && kept.leftOut > 0, JSON.stringify(kept));
    assert.equal(await engine.metric('tailrace_kept_documents'), kept.documents);
    assert.equal(await engine.terminate(), 0, engine.log());
    const events = await eventsOf(place);
    const { first, ...counts } = await compare(events);
    assert.equal(counts.differing, 0, JSON.stringify(first));
    assert.ok(counts.withoutAfter > 0 && counts.compared > 7_000, JSON.stringify(counts));

    const [{ time }] = events.filter(({ operationType }) => operationType === 'update') as [Event];
    const set = await place.command('checkpoint', 'set', 'all', `${time.t}:${time.i}`, '--yes');
    assert.equal(set.code, 0, set.stderr);
    await rm(join(place.folder, 'all'));
    engine = place.start();
    await untilAllIsThere(engine, db);
    assert.match(engine.log(), /states-forgotten.*set back/);
    assert.equal(await engine.terminate(), 0, engine.log());
    const later = await compare(await eventsOf(place));
    assert.equal(later.differing, 0, JSON.stringify(later.first));
    assert.ok(later.withoutAfter > 0);
  });
});

/** It shows less than it could behind this time. */
function isLacking({ operationType, time, before: was, after: is }: Event, known: Time): boolean {
  if (time.t < known.t || (time.t === known.t && time.i <= known.i)) return false;
  if (operationType === 'update' && is === undefined) return true;
  return operationType !== 'insert' && operationType !== 'snapshot' && was === undefined;
}

function eventOf(line: string): Event {
  const fields = fieldsOf(line);
  const { db, coll } = JSON.parse(fields.get('ns')!) as { db: string; coll: string };
  const { $timestamp } = JSON.parse(fields.get('clusterTime')!) as { $timestamp: Time };
  return {
    _id: fields.get('_id')!,
    operationType: JSON.parse(fields.get('operationType')!) as string,
    time: $timestamp,
    place: { db, coll },
    id: fieldsOf(fields.get('documentKey')!).get('_id')!,
    before: fields.get('fullDocumentBeforeChange'),
    after: fields.get('fullDocument'),
  };
}

/** Of an object as JSON without spaces: its fields as they are written. */
function fieldsOf(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (let at = 1; at < text.length - 1;) {
    const name = valueEndOf(text, at);
    const end = valueEndOf(text, name + 1);
    fields.set(JSON.parse(text.slice(at, name)) as string, text.slice(name + 1, end));
    at = end + 1;
  }
  return fields;
}

function valueEndOf(text: string, start: number): number {
  let depth = 0;
  for (let at = start; ; at++) {
    const c = text[at];
    if (c === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
    } else if (c === '{' || c === '[') depth++;
    else if (c === '}' || c === ']') depth--;
    if (depth < 0) return at;
    const next = text[at + 1];
    if (depth === 0 && (next === undefined || next === ',' || next === ':' || next === '}' || next === ']'))
      return at + 1;
  }
}
