import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { readConfig } from '../../src/config/load.ts';
import { UserError } from '../../src/errors.ts';
import type { ChannelModel } from 'amqplib';
import type { LanePort, OpenPort, PortListener } from '../../src/lanes/port.ts';
import { AmqpConnection } from '../../src/sinks/amqp-connection.ts';
import { SinkLock, lockName, lockWaitMs } from '../../src/sinks/lock.ts';
import { until } from '../harness/engine-process.ts';
import { startProxy, startRabbit } from '../servers/index.ts';
import type { Proxy, RabbitServer } from '../servers/index.ts';

const ID = '0123456789abcdef01234567';

test("the lock is named after the replica set and the subscription, within AMQP's 255 bytes", () => {
  assert.equal(lockName(ID, 'orders'), `tailrace.lock.${ID}.orders`);
  const [long, longer] = ['x'.repeat(300), 'x'.repeat(301)].map((name) => lockName(ID, name));
  for (const name of [long!, longer!]) assert.ok(name.startsWith('tailrace.lock.') && Buffer.byteLength(name) <= 255);
  assert.notEqual(long, longer);
  assert.ok(Buffer.byteLength(lockName(`name:${'é'.repeat(117)}`, 's')) <= 255);
});

test("the lock of an engine that died is waited for longer than the broker takes to miss that engine's heartbeats", () => {
  assert.equal(lockWaitMs(5_000), 60_000);
  for (const heartbeatMs of [19_000, 20_000, 60_000, 3_600_000]) assert.ok(lockWaitMs(heartbeatMs) > 3 * heartbeatMs);
});

test('where no channel can be had to ask for the lock, that is the trouble and a warning, until one is there', async () => {
  const lines: { level: number; code: string; reason: string }[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  let full = true;
  const channel = { on: () => {}, assertQueue: async () => ({}), close: async () => {} };
  const model = {
    createChannel: async () => {
      if (full) throw new Error('No channels left to allocate');
      return channel;
    },
  } as unknown as ChannelModel;
  const connection = { connected: async () => model, whileOpen: <T>(_: unknown, work: Promise<T>) => work };
  const config = { name: 'mq', heartbeatMs: 5_000 };
  const lock = new SinkLock({ config, subscriptions: ['orders'], connection, log });
  const stop = new AbortController();
  const settled = lock.run(stop.signal);
  lock.identify('orders', ID);
  await until('it says so', () => lock.trouble('orders') !== undefined);
  const { code, text } = lock.trouble('orders')!;
  assert.equal(code, 'lock-impossible');
  assert.match(text, /no channel can be had \(No channels left to allocate\)/);
  full = false;
  await settled;
  assert.equal(lock.trouble('orders'), undefined);
  assert.deepEqual(
    lines.map((line) => [line.level, line.code]),
    [[40, 'lock-impossible']],
  );
  stop.abort();
});

describe('two engines that would deliver the same subscription', () => {
  let rabbit: RabbitServer;

  before(async () => {
    rabbit = await startRabbit();
  });

  after(async () => rabbit.stop());

  test('the second delivers nothing, and is refused after a while with what to do', async () => {
    await using first = await Contender.start(rabbit.uri, 'refused');
    await first.delivers();
    await using second = await Contender.start(rabbit.uri, 'refused', { waitMs: 1_000 });
    second.delivers().catch(() => {});
    await until('the second waits', () => second.trouble !== undefined);
    assert.match(second.trouble!, /another engine delivers it/);
    const error = await second.settling;
    assert.ok(error instanceof UserError && error.code === 'subscription-locked', String(error));
    assert.match(error.message, /^subscription "refused": another engine .*Stop the other one/);
    assert.match(error.message, new RegExp(`"tailrace\\.lock\\.${ID}\\.refused" on sink "mq"`));
    assert.equal(second.opened, 0);
    // Another replica set's is another lock.
    await using other = await Contender.start(rabbit.uri, 'refused', { replicaSetId: 'name:rs0' });
    await other.delivers();
  });

  test('the second delivers once the first is gone', async () => {
    await using first = await Contender.start(rabbit.uri, 'passed-on');
    await first.delivers();
    await using second = await Contender.start(rabbit.uri, 'passed-on');
    await until('the second waits', () => second.trouble !== undefined);
    await first[Symbol.asyncDispose]();
    await second.delivers();
    assert.equal(second.trouble, undefined);
    assert.deepEqual(second.warnings, ['Another engine delivers this subscription; waiting for it to end.']);
  });

  test('who waits leaves the lock to its holder, whose connection is only cut and made again', async () => {
    await using proxy = await proxyTo(rabbit);
    await using first = await Contender.start(`amqp://127.0.0.1:${proxy.port}`, 'cut');
    await first.delivers();
    await using second = await Contender.start(rabbit.uri, 'cut');
    second.delivers().catch(() => {});
    await until('the second waits', () => second.trouble !== undefined);
    // Long enough for what is left of a killed engine to be gone.
    await sleep(2_500);
    proxy.cut();
    // At once: the lock is taken again beside the lanes.
    await first.delivers();
    await sleep(5_000);
    assert.equal(second.opened, 0);
    assert.equal(first.trouble, undefined);
  });

  test('a holder that was away for long goes on beside the one that took over, and says so until that one ends', async () => {
    await using proxy = await proxyTo(rabbit);
    await using first = await Contender.start(`amqp://127.0.0.1:${proxy.port}`, 'taken', { waitMs: 1_000 });
    await first.delivers();
    await proxy.refuse();
    const second = await Contender.start(rabbit.uri, 'taken');
    await second.delivers();
    await proxy.accept();
    await first.delivers();
    await until('the first says so', () => first.trouble !== undefined);
    assert.match(first.trouble!, /another engine delivers it as well/);
    assert.equal(first.errors.length, 1);
    await second[Symbol.asyncDispose]();
    await until('the first is alone again', () => first.trouble === undefined);
    await using third = await Contender.start(rabbit.uri, 'taken', { waitMs: 100 });
    assert.ok((await third.settling) instanceof UserError);
  });

  test('who may not declare the lock is warned once, and delivers', async () => {
    await rabbit.ctl(['add_user', 'writer', 'secret']);
    await rabbit.ctl(['set_permissions', 'writer', '^orders$', '.*', '.*']);
    await using one = await Contender.start(rabbit.uri.replace('://', '://writer:secret@'), 'forbidden');
    await one.delivers();
    assert.equal(one.warnings.length, 1);
    assert.match(one.warnings[0]!, /Grant the user `configure` on "\^tailrace\\\.lock\\\."/);
    assert.equal(one.trouble, undefined);
  });
});

async function proxyTo({ uri }: RabbitServer): Promise<Proxy> {
  return startProxy({ to: Number(new URL(uri).port) });
}

/** What an engine has of one subscription: its lock, over a connection of its own, and lanes that open once they may. */
class Contender implements AsyncDisposable {
  opened = 0;
  /** What was logged, by level. */
  readonly warnings: string[] = [];
  readonly errors: string[] = [];
  readonly #name: string;
  readonly #stop = new AbortController();
  readonly #connection: AmqpConnection;
  readonly #lock: SinkLock;
  readonly #port: LanePort;
  /** The error that ended it, if any did. */
  settling: Promise<unknown> = Promise.resolve();

  private constructor(connection: AmqpConnection, lock: SinkLock, name: string) {
    this.#connection = connection;
    this.#lock = lock;
    this.#name = name;
    const open = async (): Promise<OpenPort> => {
      await connection.connected(this.#stop.signal);
      this.opened += 1;
      return { ready: true, publish: () => {}, prepare: () => undefined, close: () => {} };
    };
    this.#port = lock.guard(name, { open, mend: async () => {} });
  }

  static async start(
    uri: string,
    name: string,
    { waitMs, replicaSetId = ID }: { waitMs?: number; replicaSetId?: string } = {},
  ): Promise<Contender> {
    const { sinks } = await readConfig(
      {
        sources: { src: { uri: 'mongodb://localhost/?replicaSet=none' } },
        sinks: { mq: { uri } },
        subscriptions: [{ name: 'all', namespaces: ['*'], to: { queue: 'q' } }],
      },
      {},
    );
    const lines: { level: number; msg: string }[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line)) });
    const config = sinks[0]!;
    const connection = new AmqpConnection({ config, number: 0, log, meter: { reconnected: () => {} } });
    const lock = new SinkLock({ config, subscriptions: [name], connection, log, waitMs });
    const made = new Contender(connection, lock, name);
    const ofLock = (level: number) => lines.filter((line) => line.level === level && !/RabbitMQ/.test(line.msg));
    Object.defineProperty(made, 'warnings', { get: () => ofLock(40).map(({ msg }) => msg) });
    Object.defineProperty(made, 'errors', { get: () => ofLock(50).map(({ msg }) => msg) });
    await connection.start(made.#stop.signal);
    made.settling = lock.run(made.#stop.signal).catch((error: unknown) => error);
    lock.identify(name, replicaSetId);
    return made;
  }

  get trouble(): string | undefined {
    return this.#lock.trouble(this.#name)?.text;
  }

  /** Resolves once a lane could be opened. */
  async delivers(): Promise<void> {
    const listener = { partition: 0 } as PortListener;
    await this.#port.open(listener, AbortSignal.any([this.#stop.signal, AbortSignal.timeout(30_000)]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#connection.close();
    await this.settling;
  }
}
