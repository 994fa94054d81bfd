/**
 * What happens when the place in the oplog where the engine stands is not there any more: rolled over while a blocked broker keeps
 * it from reading on, or while it is stopped, or gone with the whole set. What lies in the gap that it records counts as told; what
 * lies outside of it counts as lost where it does not arrive.
 */
import { parse } from 'yaml';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { until } from '../../harness/engine-process.ts';
import { writeHistory } from '../../harness/history.ts';
import { untilDelivered, untilReading } from '../../harness/waiting.ts';
import { Members } from '../members.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome } from '../case.ts';
import type { Change } from '../../harness/history.ts';
import type { MongoServer } from '../../servers/index.ts';

type Policy = 'stop' | 'earliest' | 'latest';

/** Far less than the members hold of each other's writes before they are cut; it is cut to its size each second. */
const SMALL_OPLOG = ['--oplogSize', '8', '--syncdelay', '1'];
const EVENTS = 1_500;

/** Rolled over below an engine that a blocked broker keeps from reading on. */
export async function overtaken(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  const mongo = await arena.mongo({ members: 3, args: SMALL_OPLOG });
  const known = new Known();
  await using trial = await Trial.begin({
    arena,
    mongo,
    rabbit,
    eventsPerSecond: 0,
    config: {
      source: { onPositionLost: arena.random.pick<Policy>(['earliest', 'latest']) },
      pipeline: { inFlight: '256KiB' },
    },
  });
  await untilReading(trial.engine);
  for (let round = 0; round < arena.pick(1, 2); round++) {
    await write(mongo, trial.name);
    known.add(await trial.written());
    await untilDelivered(trial.engine, known.all.slice(-1));
    await rabbit.setMemoryAlarm(true);
    try {
      await write(mongo, trial.name);
      known.add(await trial.written());
      await until('the source is held', async () => (await trial.engine.status()).sources['src']!.state === 'held');
      await trial.untilNotReady(/blocked/, 10_000);
      await rollOver(mongo);
    } finally {
      await rabbit.setMemoryAlarm(false);
    }
    trial.count();
    await until('there is a gap record', async () => (await trial.engine.status()).gaps.length > round);
    await until('it reads on', async () => (await trial.engine.ready()).ok);
  }
  if (!trial.engine.log().includes('"serverCode":136')) throw new Error('no cursor was overtaken');
  await write(mongo, trial.name);
  known.add(await trial.written());
  return await trial.verdict({ repeats: 0, expected: known.outside((await trial.engine.status()).gaps) });
}

/** Rolled over while the engine is stopped: it ends with 3, and goes on where it is told to. */
export async function overtakenStopped(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo({ members: 3, args: SMALL_OPLOG });
  const known = new Known();
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, mongo, rabbit, eventsPerSecond: 0 });
  await untilReading(trial.engine);
  const policies: readonly Policy[] = arena.pick(
    [arena.random.pick<Policy>(['earliest', 'latest'])],
    ['earliest', 'latest'],
  );
  for (const policy of policies) {
    await write(mongo, trial.name);
    known.add(await trial.written());
    await untilDelivered(trial.engine, known.all.slice(-1));
    const exit = await trial.engine.terminate();
    if (exit !== 0) throw new Error(`a SIGTERM ended the engine with ${exit}`);
    await write(mongo, trial.name);
    known.add(await trial.written());
    await rollOver(mongo);
    trial.count();
    await refuses(trial, { policy: 'stop', exit: 3, says: /has left the oplog, whose oldest entry is/ });
    await configure(trial, policy);
    await write(mongo, trial.name);
    known.add(await trial.written());
    await untilReading(trial.start());
  }
  await write(mongo, trial.name);
  known.add(await trial.written());
  return await trial.verdict({ repeats: 0, expected: known.outside((await trial.engine.status()).gaps) });
}

/** Another set of the same name on the same hosts: nothing of it is published, whatever the policy. */
export async function recreated(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo({ members: 3 });
  const members = new Members(mongo);
  await using trial = await Trial.begin({ arena, mongo, backlog: 2_000 });
  await trial.endTraffic();
  const expected = await trial.written();
  await untilDelivered(trial.engine, expected.slice(-1));
  await mongo.kill();
  for (const place of mongo.hosts.keys()) await mongo.removeData(place);
  await mongo.launch(...mongo.hosts.keys());
  await members.ask(0, {
    replSetInitiate: {
      _id: 'rs0',
      members: mongo.hosts.map((host, _id) => ({ _id, host })),
      settings: { electionTimeoutMillis: 2_000 },
    },
  });
  await members.untilWhole();
  trial.count();
  await write(mongo, trial.name);
  await trial.untilNotReady(/another replica set/);
  const exit = await trial.engine.terminate();
  if (exit !== 0) throw new Error(`a SIGTERM ended the engine with ${exit}`);
  for (const policy of ['stop', 'earliest', 'latest'] as const) {
    await refuses(trial, { policy, exit: 2, says: /belongs to replica set/ });
  }
  return await trial.verdict({ repeats: 0, expected, ended: true });
}

interface Refusal {
  readonly policy: Policy;
  readonly exit: number;
  readonly says: RegExp;
}

async function refuses(trial: Trial, { policy, exit, says }: Refusal): Promise<void> {
  await configure(trial, policy);
  const engine = trial.start();
  const ended = await engine.ended();
  if (ended !== exit || !says.test(engine.log())) throw new Error(`a start ended with ${ended}: ${engine.log()}`);
}

async function configure({ folder }: Trial, onPositionLost: Policy): Promise<void> {
  const config = parse(await readFile(join(folder.folder, 'tailrace.yaml'), 'utf8')) as { sources: { src: object } };
  await folder.configure({ ...config, sources: { src: { ...config.sources.src, onPositionLost } } });
}

async function write(mongo: MongoServer, db: string): Promise<void> {
  await using client = await MongoClient.connect(mongo.uri);
  await client.db(db).dropDatabase();
  await writeHistory(client, { db, collections: 8, events: EVENTS });
  // A gap's end is an entry that is delivered or not, as the policy is: it shall be none of these.
  await client.db('filler').collection('c').insertOne({});
}

/** Until everything that is in the oplogs now has left them. */
async function rollOver(mongo: MongoServer): Promise<void> {
  await using client = await MongoClient.connect(mongo.uri);
  const members = new Members(mongo);
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  const filling = 'x'.repeat(10_000);
  const isOver = async (place: number): Promise<boolean> => {
    await using alone = await members.connect(place);
    const oldest = await alone
      .db('local')
      .collection('oplog.rs')
      .findOne({}, { sort: { $natural: 1 } });
    return (oldest!['ts'] as Timestamp).greaterThan(operationTime as Timestamp);
  };
  await until('the oplogs have rolled over', async () => {
    await client
      .db('filler')
      .collection('c')
      .insertMany(Array.from({ length: 200 }, () => ({ filling })));
    return (await Promise.all([...mongo.hosts.keys()].map(isOver))).every(Boolean);
  });
}

/** What was written, as far as any look at the oplog has shown it. */
class Known {
  readonly #changes = new Map<string, Change>();

  get all(): readonly Change[] {
    return [...this.#changes.values()];
  }

  add(changes: readonly Change[]): void {
    for (const change of changes) this.#changes.set(change.id, change);
  }

  /** What was told to be missing does not have to arrive; nor may it. */
  outside(gaps: readonly { readonly from: string; readonly to: string }[]): readonly Change[] {
    return this.all.filter(({ id }) => {
      const at = ordinal(id.split('.'));
      return !gaps.some(({ from, to }) => at > ordinal(from.split(':')) && at < ordinal(to.split(':')));
    });
  }
}

/** Of seconds and increment. */
function ordinal([seconds, increment]: readonly string[]): number {
  return Number(seconds) * 2 ** 20 + Number(increment);
}
