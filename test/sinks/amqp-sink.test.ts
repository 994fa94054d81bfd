import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readConfig } from '../../src/config/load.ts';
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

      await until('it is connected again', () => sink.state === 'connected' && sink.downFor === undefined);
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
