/** What a broker that runs does not take: it blocks publishers, refuses messages, misses what they are sent to, or is silent. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { until } from '../../harness/engine-process.ts';
import { onBroker } from '../../harness/on-broker.ts';
import { startProxy } from '../../servers/index.ts';
import type { RabbitServer } from '../../servers/index.ts';
import { WithoutConfirms } from '../frames.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';
import type { Shape } from '../trial.ts';

const it = (name: string, run: TortureCase['run']): TortureCase => ({
  end: 'RabbitMQ',
  name,
  versionsOf: 'RabbitMQ',
  run,
});

export const REFUSAL_CASES: readonly TortureCase[] = [
  it('memory alarm for a minute', async (arena) => blocked(arena, async (rabbit, on) => rabbit.setMemoryAlarm(on))),
  it('disk alarm for a minute', async (arena) =>
    blocked(arena, async (rabbit, on) => rabbit.ctl(['set_disk_free_limit', on ? '1000000GB' : '1MB']))),
  it('exchange deleted: channels closed by the server (404)', exchangeDeleted),
  it('queue deleted', queueDeleted),
  it('queue declared with other arguments', queueRedeclared),
  it('full queue that rejects (nacks)', nacked),
  it('binding removed (unroutable)', unbound),
  it('message over the limit (406)', tooLarge),
  it('no right to declare any more (403)', withoutConfigure),
  it('confirms that never come', unconfirmed),
];

/** Far more waits behind it than may be in flight. */
async function blocked(arena: Arena, alarm: (rabbit: RabbitServer, on: boolean) => Promise<unknown>): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: arena.pick(3_000, 200_000),
    padding: arena.pick(8_000, 2_200),
    eventsPerSecond: arena.pick(2_000, 5_000),
  });
  await trial.strike(async () => {
    await alarm(rabbit, true);
    try {
      await trial.untilNotReady(/sink "mq" is blocked by the broker: /);
      await until('the source is held', async () => {
        const { heldBy } = (await trial.engine.status()).sources['src']!;
        return heldBy[0] === 'all';
      });
      const before = await trial.confirmed();
      await sleep(arena.pick(2_000, 60_000));
      const passed = (await trial.confirmed()) - before;
      if (passed > 0) throw new Error(`${passed} passed a broker that blocks`);
    } finally {
      await alarm(rabbit, false);
    }
  });
  await trial.untilReady();
  return await trial.verdict({ repeats: 0, rssMiB: 400 });
}

async function exchangeDeleted(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  const times = arena.pick(3, 8);
  await trial.strikes(times, async () => onBroker(rabbit.uri, async (channel) => channel.deleteExchange(trial.name)));
  // It is declared again before it is bound again.
  return await trial.verdict({ repeats: times * trial.underWay, order: 'last' });
}

async function queueDeleted(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: 10_000,
    shape: { window: 32, maxEvents: 1 },
  });
  const times = arena.pick(3, 8);
  let gone = 0;
  for (let n = 0; n < times; n++) {
    await sleep(arena.random.between(0, 1_000));
    await trial.strike(async () => {
      gone += await deleteQueue(rabbit, trial);
    });
    await trial.untilReady();
  }
  return await trial.verdict({ repeats: times * trial.underWay, order: 'last', gone });
}

async function queueRedeclared(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: 10_000,
    shape: { window: 32, maxEvents: 1 },
  });
  let gone = 0;
  await trial.strike(async () => {
    gone = await deleteQueue(rabbit, trial, async (channel) => {
      await channel.assertQueue(trial.name, queueOptions(trial.shape, { 'x-max-length': 7_000_000 }));
    });
    await trial.untilNotReady(/"all": .* held, unroutable: .* could not be put right: .*x-max-length/);
    await rabbit.closeConnections('an operator says so');
    await trial.untilNotReady(/"all": .* held, refused: .* other properties .*x-max-length/s);
    await sleep(arena.pick(500, 30_000));
    await onBroker(rabbit.uri, async (channel) => channel.deleteQueue(trial.name));
  });
  await trial.untilReady();
  return await trial.verdict({ repeats: 2 * trial.underWay, order: 'last', gone });
}

async function nacked(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: 10_000,
    // From the start: a limit that comes before it would throw away what is there.
    queueArguments: { 'x-overflow': 'reject-publish' },
  });
  const times = arena.pick(1, 2);
  const { name } = trial;
  await trial.strikes(times, async () => {
    await rabbit.ctl(['set_policy', '--apply-to', 'queues', name, `^${name}$`, '{"max-length":10}']);
    await trial.untilNotReady(/"all": .* held, nacked: /);
    await sleep(arena.random.between(0, arena.pick(500, 5_000)));
    await rabbit.ctl(['clear_policy', name]);
  });
  return await trial.verdict({ repeats: times * trial.underWay, order: 'last' });
}

/** Where the engine may not declare, its operator gives back what was taken. */
async function unbound(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: 10_000,
    config: { sink: { declare: false } },
    prepare: async (name, shape) =>
      onBroker(rabbit.uri, async (channel) => {
        await channel.assertExchange(name, 'topic', { durable: true });
        await channel.assertQueue(name, queueOptions(shape));
        await channel.bindQueue(name, name, '#');
      }),
  });
  const times = arena.pick(2, 6);
  const { name } = trial;
  await trial.strikes(times, async () => {
    await onBroker(rabbit.uri, async (channel) => channel.unbindQueue(name, name, '#'));
    await trial.untilNotReady(/"all": .* held, unroutable: /);
    await sleep(arena.random.between(0, 3_000));
    await onBroker(rabbit.uri, async (channel) => channel.bindQueue(name, name, '#'));
  });
  return await trial.verdict({ repeats: times * trial.underWay, order: 'last' });
}

async function tooLarge(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit({ extraConfig: 'max_message_size = 65536' });
  const mongo = await arena.mongo();
  await using trial = await Trial.begin({ arena, mongo, rabbit, backlog: 10_000, shape: { maxEvents: 1 } });
  const times = arena.pick(3, 8);
  await using client = await MongoClient.connect(mongo.uri);
  const filling = 'x'.repeat(100_000);
  for (let n = 0; n < times; n++) {
    await trial.strike(async () => {
      await client
        .db(trial.name)
        .collection(`c${n % 8}`)
        .insertOne({ filling });
    });
    await sleep(arena.random.between(0, 1_000));
  }
  // All that is under way with it, and, as it is then looked for one by one, two by two, and so on, once more what is so when it is met.
  return await trial.verdict({ repeats: 2 * times * trial.underWay, parked: times });
}

async function withoutConfigure(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  const user = arena.uniqueName();
  const grant = async (configure: string): Promise<string> =>
    rabbit.ctl(['set_permissions', '-p', '/', user, configure, '.*', '.*']);
  await rabbit.ctl(['add_user', user, user]);
  await grant('.*');
  await using trial = await Trial.begin({
    arena,
    rabbit: { uri: rabbit.uri, through: rabbit.uri.replace('://', `://${user}:${user}@`) },
    backlog: 10_000,
  });
  const times = arena.pick(1, 2);
  await trial.strikes(times, async () => {
    await grant('^$');
    await rabbit.closeConnections('an operator says so');
    await trial.untilNotReady(/"all": .* held, refused: .*may not do this/s);
    await sleep(arena.pick(500, 5_000));
    await grant('.*');
  });
  const outcome = await trial.verdict({ repeats: times * trial.underWay });
  await rabbit.ctl(['delete_user', user]);
  return outcome;
}

async function unconfirmed(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  const confirms = new WithoutConfirms();
  await using proxy = await startProxy({
    to: Number(new URL(rabbit.uri).port),
    toClient: () => confirms.link(),
  });
  await using trial = await Trial.begin({
    arena,
    rabbit: { uri: rabbit.uri, through: `amqp://127.0.0.1:${proxy.port}` },
    backlog: 10_000,
    config: { sink: { confirmTimeout: '1s' } },
  });
  const times = arena.pick(1, 3);
  const { partitions, maxEvents } = trial.shape;
  let repeats = 0;
  await trial.strikes(times, async () => {
    const began = performance.now();
    confirms.swallowed = true;
    await trial.untilNotReady(/"all": .* held, confirm-timeout: no confirm came within 1000 ms/);
    await sleep(arena.pick(2_000, 8_000));
    confirms.swallowed = false;
    // Everything under way once, and then one message a lane each time that its patience ends.
    repeats += trial.underWay + ((performance.now() - began) / 1_000) * partitions * maxEvents;
  });
  return await trial.verdict({ repeats });
}

function queueOptions({ queue }: Shape, more: object = {}): { durable: true; arguments: object } {
  return { durable: true, arguments: { 'x-queue-type': queue, ...more } };
}

/**
 * How many changes may be gone with it, one a message: those that lay there, those that came while it was being deleted (a
 * quorum queue counts before it ends), and those on their way, all of which count as confirmed.
 */
async function deleteQueue(
  rabbit: RabbitServer,
  trial: Trial,
  then: (channel: Parameters<Parameters<typeof onBroker>[1]>[0]) => Promise<void> = async () => {},
): Promise<number> {
  return await onBroker(rabbit.uri, async (channel) => {
    const before = await trial.confirmed();
    const { messageCount } = await channel.deleteQueue(trial.name);
    await then(channel);
    return messageCount + trial.underWay + (await trial.confirmed()) - before;
  });
}
