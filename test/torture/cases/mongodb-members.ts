/** What happens to single members of the set while it keeps its majority: they die, step down, hang, lag and start anew. */
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../harness/engine-process.ts';
import { Members } from '../members.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome } from '../case.ts';
import type { MongoServer } from '../../servers/index.ts';

/** A pause of a little while in the flow, so that the fault does not always strike at its beginning. */
const MOMENT_MS = 1_000;

export async function killedAlone(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo();
  await using trial = await Trial.begin({ arena, mongo });
  for (let kill = 0; kill < arena.pick(1, 5); kill++) {
    await trial.strike(async () => {
      await mongo.kill();
      await trial.untilNotReady();
      await mongo.restart();
    });
  }
  await trial.strike(async () => mongo.restart());
  return await trial.verdict({ repeats: 0 });
}

export async function steppedDown(arena: Arena): Promise<Outcome> {
  const { members, trial } = await onSet(arena);
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(3, 15); n++) {
    const first = await members.primary();
    await own.strike(async () => members.stepDown(first));
    await sleep(arena.random.next() * MOMENT_MS);
  }
  return await own.verdict({ repeats: 0 });
}

export async function primaryKilled(arena: Arena): Promise<Outcome> {
  const { mongo, members, trial } = await onSet(arena);
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(2, 6); n++) {
    const first = await members.primary();
    await own.strike(async () => {
      await mongo.kill(first);
      await members.untilPrimary(first);
    });
    await mongo.launch(first);
    await members.untilIn(first);
    await sleep(arena.random.next() * MOMENT_MS);
  }
  return await own.verdict({ repeats: 0 });
}

export async function readMemberKilled(arena: Arena): Promise<Outcome> {
  const { mongo, members, trial } = await onSet(arena, 'secondary');
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(2, 8); n++) {
    const read = await members.readBy(own.engine);
    await own.strike(async () => mongo.kill(read));
    await mongo.launch(read);
    await members.untilIn(read);
    await sleep(arena.random.next() * MOMENT_MS);
  }
  return await own.verdict({ repeats: 0 });
}

/** It keeps its connections, and never answers. */
export async function readMemberHangs(arena: Arena): Promise<Outcome> {
  const { mongo, members, trial } = await onSet(arena, 'secondary');
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(1, 3); n++) {
    const read = await members.readBy(own.engine);
    // It is read where no secondary is to be trusted; without it, nothing would be written for a while.
    if (read === (await members.primary())) await members.stepDown(read);
    const began = performance.now();
    await own.strike(async () => {
      mongo.suspend(read);
      await until('another is read', async () => (await members.readBy(own.engine)) !== read, 30_000);
    });
    arena.say(`left after ${Math.round(performance.now() - began)} ms`);
    await sleep(arena.pick(0, 15_000));
    mongo.resume(read);
    await members.untilIn(read);
  }
  return await own.verdict({ repeats: 0 });
}

/** It answers, and is 30 s behind the others. */
export async function readMemberDelayed(arena: Arena): Promise<Outcome> {
  const { members, trial } = await onSet(arena, 'secondary');
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(1, 2); n++) {
    const read = await members.readBy(own.engine);
    const began = performance.now();
    await own.strike(async () => {
      await members.reconfigure((all) => Object.assign(all[read]!, { priority: 0, secondaryDelaySecs: 30 }));
      await until('another is read', async () => (await members.readBy(own.engine)) !== read, 30_000);
    });
    arena.say(`left after ${Math.round(performance.now() - began)} ms`);
    await members.reconfigure((all) => Object.assign(all[read]!, { priority: 1, secondaryDelaySecs: 0 }));
    await members.untilIn(read);
  }
  return await own.verdict({ repeats: 0 });
}

/** It loses its data and copies the set's anew; then the other one dies, so that it is to be read again. */
export async function readMemberAnew(arena: Arena): Promise<Outcome> {
  const { mongo, members, trial } = await onSet(arena, 'secondary');
  await using _ = members;
  await using own = trial;
  for (let n = 0; n < arena.pick(1, 3); n++) {
    const read = await members.readBy(own.engine);
    await own.strike(async () => {
      await mongo.kill(read);
      await mongo.removeData(read);
      await mongo.launch(read);
    });
    await members.untilIn(read);
    // One that failed is avoided for 15 s: sooner, the primary is preferred to it.
    const again = arena.pick(false, true);
    if (again) await sleep(16_000);
    const other = await members.readBy(own.engine);
    const primary = await members.primary();
    // What was read before goes on flowing for a moment.
    await own.strike(async () => {
      await mongo.kill(other);
      await until('another is read', async () => (await members.readBy(own.engine)) !== other, 30_000);
    });
    const now = await members.readBy(own.engine);
    // Where the primary dies, either of those that are left may be the next.
    if (again && primary !== read && primary !== other && now !== read)
      throw new Error(`member ${now} is read, not the one that began anew`);
    await mongo.launch(other);
    await members.untilIn(other);
  }
  return await own.verdict({ repeats: 0 });
}

/** A set of three, and an engine that reads from where it is told. */
async function onSet(
  arena: Arena,
  readPreference = 'primary',
): Promise<{ mongo: MongoServer; members: Members; trial: Trial }> {
  const mongo = await arena.replicaSet();
  const members = new Members(mongo);
  const { uri } = mongo;
  const trial = await Trial.begin({
    arena,
    mongo: { uri, through: `${uri}&readPreference=${readPreference}` },
  });
  return { mongo, members, trial };
}
