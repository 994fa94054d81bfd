/**
 * What happens when the set loses its majority: a primary that is cut off goes on to take writes, which nobody may see, since they are
 * taken back when the others have elected another; and nothing that waits for a majority may be published before it is back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Members } from '../members.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome } from '../case.ts';

const DOOMED = 200;
/** What a member had asked for when it was stopped has been sent to it by then, and is the set's. */
const ANSWERED_MS = 200;

/** Writes to a primary that is cut off are rolled back; the engine reads from it, or from one of the others. */
export async function rolledBack(arena: Arena, readPreference: 'primary' | 'secondary'): Promise<Outcome> {
  const mongo = await arena.replicaSet();
  await using members = new Members(mongo);
  await using trial = await Trial.begin({
    arena,
    mongo: { uri: mongo.uri, through: `${mongo.uri}&readPreference=${readPreference}` },
  });
  for (let round = 0; round < arena.pick(1, 3); round++) {
    const first = await members.primary();
    const others = await members.secondaries();
    const rollbacks = await rollbacksOf(members, first);
    let doomed: readonly number[] = [];
    await trial.strike(async () => {
      for (const other of others) mongo.suspend(other);
      doomed = await writeAlone(members, { member: first, db: `${trial.name}-traffic` });
      // Long enough, at times, for an engine that read from one of the others to come here.
      await sleep(arena.random.between(1_000, arena.pick(3_000, 15_000)));
      await mongo.kill(first);
      for (const other of others) mongo.resume(other);
      await members.untilPrimary(first);
    });
    await mongo.launch(first);
    await members.untilIn(first);
    const kept = await presentOf(members, { doomed, db: `${trial.name}-traffic` });
    arena.say(`${doomed.length} written to a primary cut off, ${kept} of them kept`);
    if (kept > 0) throw new Error('writes to a primary that was cut off were kept: nothing was shown');
    if ((await rollbacksOf(members, first)) === rollbacks) throw new Error('the member has not rolled anything back');
  }
  // That none of them were published the verdict says: whatever the oplog does not hold in the end counts as never written.
  return await trial.verdict({ repeats: 0 });
}

/** What nobody but a primary without a majority has is not published before it has one again. */
export async function majorityGone(arena: Arena): Promise<Outcome> {
  const mongo = await arena.replicaSet();
  await using members = new Members(mongo);
  await using trial = await Trial.begin({ arena, mongo });
  for (let round = 0; round < arena.pick(2, 3); round++) {
    const first = await members.primary();
    const others = await members.secondaries();
    const killed = round % 2 === 1;
    await trial.strike(async () => {
      await Promise.all(others.map(async (other) => (killed ? mongo.kill(other) : mongo.suspend(other))));
      await writeAlone(members, { member: first, db: `${trial.name}-traffic` });
      // The engine may read from one of the others.
      await trial.untilNotReady(/no majority|reconnecting/, 10_000);
      await sleep(arena.random.between(0, arena.pick(1_000, 20_000)));
      await insist(trial, members, first);
      if (killed) await mongo.launch(...others);
      else for (const other of others) mongo.resume(other);
      await members.untilPrimary();
    });
    await members.untilWhole();
    await trial.untilReady();
  }
  return await trial.verdict({ repeats: 0 });
}

/** Nothing is published that the member does not know a majority to have. */
async function insist(trial: Trial, members: Members, member: number): Promise<void> {
  const { watermark } = (await trial.engine.status()).subscriptions['all']!;
  const { lastWrite } = await members.ask(member, { hello: 1 });
  const [seconds = 0, increment = 0] = (watermark ?? '0:0').split(':').map(Number);
  const { t, i } = lastWrite.majorityOpTime.ts as { t: number; i: number };
  if (seconds > t || (seconds === t && increment > i)) {
    throw new Error(`${watermark} is published, where a majority has ${t}:${i} only`);
  }
}

/** Their `_id`s; on its disk, but on no other's. */
async function writeAlone(
  members: Members,
  { member, db }: { readonly member: number; readonly db: string },
): Promise<readonly number[]> {
  await using client = await members.connect(member);
  const collection = client.db(db).collection<{ _id: number }>('alone');
  const from = Date.now() * 1_000;
  const writeConcern = { w: 1, j: true } as const;
  await collection.insertOne({ _id: from }, { writeConcern });
  await sleep(ANSWERED_MS);
  const doomed = Array.from({ length: DOOMED }, (_, n) => ({ _id: from + 1 + n }));
  await collection.insertMany(doomed, { writeConcern });
  return doomed.map(({ _id }) => _id);
}

async function presentOf(
  members: Members,
  { doomed, db }: { readonly doomed: readonly number[]; readonly db: string },
): Promise<number> {
  await using client = await members.connect(await members.primary());
  return await client
    .db(db)
    .collection<{ _id: number }>('alone')
    .countDocuments({ _id: { $in: [...doomed] } });
}

/** Counts up with every rollback of the member. */
async function rollbacksOf(members: Members, member: number): Promise<number> {
  const { rbid } = await members.ask(member, { replSetGetRBID: 1 });
  return Number(rbid);
}
