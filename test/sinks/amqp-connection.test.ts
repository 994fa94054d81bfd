import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readConfig } from '../../src/config/load.ts';
import type { Coded } from '../../src/observe/log.ts';
import { noLog } from '../../src/library/no-log.ts';
import { AmqpConnection } from '../../src/sinks/amqp-connection.ts';
import { until } from '../harness/engine-process.ts';
import { startProxy, startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';

/** Class and method. */
const OPEN_OK = Buffer.from([0, 10, 0, 41]);
/** 320, "x", on behalf of nothing. */
const CLOSE = frame([0, 10, 0, 50, 1, 64, 1, 0x78, 0, 0, 0, 0]);
/** Because of "x". */
const BLOCKED = frame([0, 10, 0, 60, 1, 0x78]);

describe('what a broker says in one breath with its greeting', () => {
  let rabbit: RabbitServer;

  before(async () => {
    rabbit = await startRabbit();
  });

  after(async () => rabbit.stop());

  test('that it closes: the connection is made again', async () => {
    await using it = await connected([CLOSE, CLOSE]);
    await until('it is connected', () => it.connection.down === undefined);
    const model = await it.connection.connected(it.stop.signal);
    const channel = await model!.createChannel();
    await channel.close();
    assert.equal(it.said(), 3);
  });

  test('that it blocks publishers: it is known', async () => {
    await using it = await connected([BLOCKED]);
    await until('it is connected', () => it.connection.down === undefined);
    assert.equal(it.connection.blockedFor, 'the broker blocks publishers');
  });

  /** One frame for each of the first connections. */
  async function connected(frames: Buffer[]) {
    let greetings = 0;
    const withMore = (bytes: Buffer): Buffer => {
      const at = bytes.indexOf(OPEN_OK);
      if (at < 0) return bytes;
      greetings += 1;
      return Buffer.concat([bytes, frames.shift() ?? Buffer.alloc(0)]);
    };
    const proxy = await startProxy({ to: Number(new URL(rabbit.uri).port), toClient: () => withMore });
    const { sinks } = await readConfig(
      {
        sources: { src: { uri: 'mongodb://localhost/?replicaSet=none' } },
        sinks: { mq: { uri: `amqp://127.0.0.1:${proxy.port}` } },
        subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'q' } }],
      },
      {},
    );
    const meter = { reconnected: () => assert.fail('it counts as connected once it is') };
    const connection = new AmqpConnection({ config: sinks[0]!, number: 0, log: noLog, meter });
    const stop = new AbortController();
    await connection.start(stop.signal);
    return {
      connection,
      stop,
      said: () => greetings,
      [Symbol.asyncDispose]: async () => {
        await connection.close();
        await proxy.stop();
      },
    };
  }
});

describe('a login that is refused while running', () => {
  test('is an error of its own, at once and in words for people, and ends with the right password', async (t) => {
    const rabbit = await startRabbit();
    t.after(async () => rabbit.stop());
    await rabbit.ctl(['add_user', 'engine', 'open-sesame']);
    await rabbit.ctl(['set_permissions', 'engine', '.*', '.*', '.*']);
    const { sinks } = await readConfig(
      {
        sources: { src: { uri: 'mongodb://localhost/?replicaSet=none' } },
        sinks: { mq: { uri: rabbit.uri.replace('://', '://engine:open-sesame@') } },
        subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'q' } }],
      },
      {},
    );
    const lines: { level: string; fields: Coded }[] = [];
    const log = {
      ...noLog,
      warn: (fields: Coded) => void lines.push({ level: 'warn', fields }),
      error: (fields: Coded) => void lines.push({ level: 'error', fields }),
    };
    const connection = new AmqpConnection({ config: sinks[0]!, number: 0, log, meter: { reconnected: () => {} } });
    t.after(async () => connection.close());
    await connection.start(new AbortController().signal);
    await rabbit.ctl(['change_password', 'engine', 'another']);
    await rabbit.closeConnections('a test');
    await until('it is refused', () => connection.down?.code === 'sink-refused');
    const { reason } = connection.down!;
    assert.equal(reason, 'RabbitMQ refused the user or password. Check them in `sinks.mq.uri`.');
    const told = lines.filter(({ fields }) => fields.code === 'sink-refused');
    assert.deepEqual(
      told.map(({ level, fields }) => [level, fields['reason']]),
      [['error', reason]],
    );
    await rabbit.ctl(['change_password', 'engine', 'open-sesame']);
    await until('it is connected', () => connection.down === undefined);
  });
});

/** A method on channel 0. */
function frame(method: readonly number[]): Buffer {
  return Buffer.from([1, 0, 0, 0, 0, 0, method.length, ...method, 0xce]);
}
