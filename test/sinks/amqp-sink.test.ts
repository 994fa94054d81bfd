import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { readConfig } from '../../src/config/load.ts';
import { UserError } from '../../src/errors.ts';
import type { OpenPort } from '../../src/lanes/port.ts';
import { noLog } from '../../src/library/no-log.ts';
import { AmqpSink } from '../../src/sinks/amqp-sink.ts';
import { until } from '../harness/engine-process.ts';
import { startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';

const PARTITIONS = 4;

describe('a sink with two connections', () => {
  let rabbit: RabbitServer;

  before(async () => {
    rabbit = await startRabbit();
  });

  after(async () => rabbit.stop());

  test('spreads its lanes over them, and the loss of one leaves the lanes of the other alone', async () => {
    const config = await readConfig(
      {
        sources: { src: { uri: 'mongodb://localhost/?replicaSet=none' } },
        sinks: { mq: { uri: rabbit.uri, connections: 2 } },
        pipeline: { partitions: PARTITIONS },
        subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'lane.{partition}' } }],
      },
      {},
    );
    let reconnected = 0;
    const sink = new AmqpSink({
      config: config.sinks[0]!,
      subscriptions: config.subscriptions,
      partitions: PARTITIONS,
      log: noLog,
      meter: { reconnected: () => (reconnected += 1) },
    });
    const stop = new AbortController();
    await sink.start(stop.signal);
    try {
      const lanes = await Promise.all(Array.from({ length: PARTITIONS }, (_, p) => openLane(sink, p)));
      assert.deepEqual(await channelsOf(rabbit), [2, 2]);
      for (const lane of lanes) lane.publish();
      await until('all lanes are confirmed', () => lanes.every(({ confirmed }) => confirmed === 1));

      const [pid] = (await rabbit.ctl(['-q', 'list_connections', 'pid', '--no-table-headers'])).trim().split('\n');
      await rabbit.ctl(['close_connection', pid!, 'a test']);
      await until('two lanes have lost their way', () => lanes.filter(({ lost }) => lost).length === 2);
      const [kept, cut] = [lanes.filter(({ lost }) => !lost), lanes.filter(({ lost }) => lost)];
      for (const lane of kept) lane.publish();
      await until('the others are confirmed', () => kept.every(({ confirmed }) => confirmed === 2));

      await until('it is connected again', () => sink.state === 'connected' && sink.down === undefined);
      assert.equal(reconnected, 1);
      const again = await Promise.all(cut.map(({ partition }) => openLane(sink, partition)));
      for (const lane of again) lane.publish();
      await until('their lanes are confirmed', () => again.every(({ confirmed }) => confirmed === 1));
      assert.ok(kept.every(({ lost }) => !lost));
    } finally {
      await sink.close();
    }
    assert.equal(sink.state, 'stopped');
    await until('no connection is left', async () => (await channelsOf(rabbit)).length === 0);

    async function openLane(to: AmqpSink, partition: number): Promise<TestLane> {
      const lane = { partition, confirmed: 0, lost: false };
      const port: OpenPort = await to.lanePort(config.subscriptions[0]!).open(
        {
          partition,
          confirmed: (tag) => (lane.confirmed = tag),
          refused: () => assert.fail('refused'),
          returned: (_, reason) => assert.fail(reason),
          writable: () => {},
          closed: ({ kind }) => (lane.lost = kind === 'connection'),
        },
        stop.signal,
      );
      const message = { type: 'insert', messageId: 'a:1.1.0', events: 1, wallSeconds: 0 };
      const publish = (): void =>
        port.publish({ ...message, body: Buffer.from('{}'), routingKey: `lane.${partition}` });
      return Object.assign(lane, { publish });
    }
  });
});

describe('a broker that limits connections', () => {
  let rabbit: RabbitServer;

  before(async () => {
    rabbit = await startRabbit();
  });

  after(async () => rabbit.stop());

  /** What was logged. */
  async function deliver(): Promise<string[]> {
    const config = await readConfig(
      {
        sources: { src: { uri: 'mongodb://localhost/?replicaSet=none' } },
        sinks: { mq: { uri: rabbit.uri } },
        pipeline: { partitions: PARTITIONS },
        subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'lane.{partition}' } }],
      },
      {},
    );
    const logged: string[] = [];
    const log = pino(
      { level: 'warn' },
      { write: (line: string) => logged.push((JSON.parse(line) as { msg: string }).msg) },
    );
    const [subscription] = config.subscriptions;
    const meter = { reconnected: () => assert.fail('reconnected') };
    const options = { subscriptions: config.subscriptions, partitions: PARTITIONS, log, meter };
    const sink = new AmqpSink({ config: config.sinks[0]!, ...options });
    const stop = new AbortController();
    try {
      // Lanes open when they like, not only once the sink is ready.
      let confirmed = 0;
      const opening = Array.from({ length: PARTITIONS }, async (_, partition) => {
        const listener = { partition, confirmed: () => (confirmed += 1), writable: () => {} };
        const fail = (): void => assert.fail();
        const port = await sink
          .lanePort(subscription!)
          .open({ ...listener, refused: fail, returned: fail, closed: () => {} }, stop.signal);
        const message = { type: 'insert', messageId: 'a:1.1.0', events: 1, wallSeconds: 0 };
        port.publish({ ...message, body: Buffer.from('{}'), routingKey: `lane.${partition}` });
      });
      const lanes = Promise.allSettled(opening);
      await sink.start(stop.signal);
      assert.deepEqual([sink.state, sink.down], ['connected', undefined]);
      await lanes;
      await until('all lanes are confirmed', () => confirmed === PARTITIONS);
      return logged;
    } finally {
      stop.abort();
      await sink.close();
      await until('no connection is left', async () => (await channelsOf(rabbit)).length === 0);
    }
  }

  for (const [whose, limit, unlimited] of [
    ['virtual host', ['set_vhost_limits', '-p', '/'], ['clear_vhost_limits', '-p', '/']],
    ['user', ['set_user_limits', 'guest'], ['clear_user_limits', 'guest', 'all']],
  ] as const) {
    test(`goes on with as many as the ${whose} may have, and says what to do; with none of them, that stops the start`, async () => {
      for (const most of [3, 1]) {
        await rabbit.ctl([...limit, JSON.stringify({ 'max-connections': most })]);
        const logged = await deliver();
        // RabbitMQ counts a little late: of several that come at once it may let one too many in.
        if (most === 1) assert.equal(logged.length, 3);
        else assert.ok(logged.length <= 1);
        for (const said of logged) assert.match(said, /raise the limit, or lower `sinks\.mq\.connections`, now 4\./);
      }
      await rabbit.ctl([...limit, JSON.stringify({ 'max-connections': 0 })]);
      await assert.rejects(deliver(), (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, /has as many connections as it may have.* or raise the limit/);
        return true;
      });
      await rabbit.ctl(unlimited);
      assert.deepEqual(await deliver(), []);
    });
  }
});

interface TestLane {
  readonly partition: number;
  readonly confirmed: number;
  readonly lost: boolean;
  publish(): void;
}

/** Of each connection, how many channels it has. */
async function channelsOf(rabbit: RabbitServer): Promise<number[]> {
  const list = await rabbit.ctl(['-q', 'list_connections', 'channels', '--no-table-headers']);
  return list.trim().split('\n').filter(Boolean).map(Number);
}
