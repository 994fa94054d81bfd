/**
 * A RabbitMQ broker: its connections, over which the lanes are spread, the topology of the subscriptions that publish to it, and
 * a confirm channel for each lane, so that what closes one lane's channel leaves the others alone.
 * At the first start, what only the user can mend is an error; the same later holds the lanes that it concerns.
 * Invariant: a lane stays on its connection, so that what it sends again leaves behind what it sent before.
 */
import { Backoff } from '../backoff.ts';
import { sleep } from '../waits.ts';
import { UserError } from '../errors.ts';
import { AmqpConnection } from './amqp-connection.ts';
import type { SinkDown } from './amqp-connection.ts';
import { AmqpPort, bodyPropertiesOf } from './amqp-port.ts';
import { amqpCode, checkTopology, declareTopology, topologyFault, topologyOf } from './topology.ts';
import type { BodyProperties } from './amqp-port.ts';
import type { SinkConfig, SubscriptionConfig } from '../config/config.ts';
import type { LanePort, OpenPort, PortFault, PortListener } from '../lanes/port.ts';
import type { Log } from '../observe/log.ts';
import type { SinkState } from '../observe/status.ts';
import type { SinkMeter } from '../observe/metrics.ts';
import type { Topology } from './topology.ts';

export interface AmqpSinkOptions {
  readonly config: SinkConfig;
  /** Those that publish to it. */
  readonly subscriptions: readonly SubscriptionConfig[];
  readonly partitions: number;
  readonly log: Log;
  readonly meter: SinkMeter;
  /** Resolves once what a subscription needs may be declared; at once where left out. Rejects at `stop`. */
  readonly mayDeclare?: (subscription: string, stop: AbortSignal) => Promise<void>;
}

export class AmqpSink {
  readonly name: string;
  readonly #config: SinkConfig;
  readonly #partitions: number;
  /** By subscription that publishes to it. */
  readonly #topologies = new Map<string, Topology>();
  /** By subscription: which connection its first lane takes. */
  readonly #offsets = new Map<string, number>();
  readonly #connections: readonly AmqpConnection[];
  readonly #mayDeclare: NonNullable<AmqpSinkOptions['mayDeclare']>;

  constructor({ config, subscriptions, partitions, log, meter, mayDeclare = atOnce }: AmqpSinkOptions) {
    this.name = config.name;
    this.#mayDeclare = mayDeclare;
    this.#config = config;
    this.#partitions = partitions;
    for (const one of subscriptions) this.join(one);
    // More than there are lanes would carry nothing.
    const lanes = subscriptions.length === 0 ? Infinity : partitions * subscriptions.length;
    const connections = Math.min(config.connections, lanes);
    this.#connections = Array.from(
      { length: connections },
      (_, number) => new AmqpConnection({ config, number, log, meter }),
    );
  }

  /** It is never refused, and made again for ever. */
  get first(): AmqpConnection {
    return this.#connections[0]!;
  }

  /** Why some lanes can send nothing; undefined while all connections stand. */
  get down(): SinkDown | undefined {
    const down = this.#had.flatMap((connection) => connection.down ?? []);
    return down.find(({ code }) => code === 'sink-refused') ?? down[0];
  }

  get state(): SinkState {
    if (this.#connections.some(({ stopped }) => stopped)) return 'stopped';
    if (this.#had.every(({ model }) => model)) return 'connected';
    return this.#had.every(({ wasConnected }) => wasConnected) ? 'reconnecting' : 'connecting';
  }

  /** The broker's reason while it blocks publishers (memory or disk alarm). */
  get blockedFor(): string | undefined {
    return this.#connections.find(({ blockedFor }) => blockedFor !== undefined)?.blockedFor;
  }

  /** Resolves once connected with every topology in place; throws `UserError` for what the user must mend. */
  async start(stop: AbortSignal): Promise<void> {
    const [first, ...others] = this.#connections;
    await first!.start(stop);
    await Promise.all(others.map((connection) => connection.start(stop)));
    // One after another, or many subscriptions would want many channels at once.
    let before: Promise<unknown> = Promise.resolve();
    const ensuring = [...this.#topologies.keys()].map(async (name) => {
      await this.#mayDeclare(name, stop);
      const turn = before.then(() => this.#ensureAtStart(name, stop));
      before = turn.catch(() => undefined);
      await turn;
    });
    try {
      await Promise.all(ensuring);
    } catch (error) {
      if (error instanceof UserError || !stop.aborted) throw error;
    }
  }

  /** One more publishes to it. */
  join(subscription: SubscriptionConfig): void {
    this.#topologies.set(subscription.name, topologyOf(subscription, this.#partitions));
    // One that comes back takes the connections that it had: what it sends again leaves behind what it sent before.
    if (!this.#offsets.has(subscription.name)) this.#offsets.set(subscription.name, this.#offsets.size);
  }

  /** Its lanes are closed. */
  leave(subscription: string): void {
    this.#topologies.delete(subscription);
    for (const { ensured } of this.#connections) ensured.delete(subscription);
  }

  /** Whether one may join: makes what it needs, where the broker can be asked now. Throws `UserError`. */
  async prepare(subscription: SubscriptionConfig): Promise<void> {
    const open = this.#connections.find(({ model }) => model);
    if (!open) return;
    try {
      await this.#apply(open, topologyOf(subscription, this.#partitions));
    } catch (error) {
      const fault = topologyFault(error, subscription.name);
      if (fault) throw fault;
    }
  }

  /** `as`: what its bodies are, where that is not what the subscription says now. */
  lanePort(subscription: SubscriptionConfig, as: BodyProperties = bodyPropertiesOf(subscription)): LanePort {
    const offset = this.#offsets.get(subscription.name) ?? 0;
    const numberOf = (partition: number) => (offset + partition) % this.#connections.length;
    return {
      open: (listener, stop) => this.#openPort(numberOf(listener.partition), { subscription, as, listener }, stop),
      mend: async () => {
        for (const { ensured } of this.#connections) ensured.delete(subscription.name);
        const open = this.#connections.find(({ model }) => model);
        if (open) await this.#ensure(open, subscription.name);
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  /** Over one connection; what it finds or makes holds for all. */
  async #ensureAtStart(subscription: string, stop: AbortSignal): Promise<void> {
    const [first] = this.#connections;
    const backoff = new Backoff();
    const topology = this.#topologies.get(subscription);
    if (!topology) return;
    // It may go, or change, before its broker is there: then whoever changes it sees to that.
    while (!stop.aborted && this.#topologies.get(subscription) === topology) {
      try {
        await first!.connected(stop);
        await this.#ensure(first!, subscription);
        for (const { ensured } of this.#connections) ensured.set(subscription, Promise.resolve());
        return;
      } catch (error) {
        const fault = topologyFault(error, subscription);
        if (fault) throw fault;
        await sleep(backoff.next(), stop);
      }
    }
  }

  /** All but those that the broker refuses. */
  get #had(): readonly AmqpConnection[] {
    return this.#connections.filter(({ refused }) => !refused);
  }

  async #openPort(
    number: number,
    wanted: { subscription: SubscriptionConfig; as: BodyProperties; listener: PortListener },
    stop: AbortSignal,
  ): Promise<OpenPort> {
    const { subscription, as, listener } = wanted;
    const connection = this.#connections[number]!;
    const model = await connection.connected(stop);
    // Its lanes are shared out: a number without its highest bit is another one, and at last 0, which is never refused.
    if (!model) return this.#openPort(number ^ (1 << (31 - Math.clz32(number))), wanted, stop);
    const { outbox } = connection;
    try {
      await this.#ensure(connection, subscription.name);
      const channel = await connection.whileOpen(model, model.createConfirmChannel());
      const topology = this.#topologies.get(subscription.name)!;
      const port = new AmqpPort({
        channel,
        listener,
        outbox,
        exchange: topology.exchange ?? '',
        ...as,
        isBlocked: () => connection.blockedFor !== undefined,
        prepareQueue: topology.dynamic ? (name) => this.#ensureQueue(connection, name, topology) : undefined,
        onClose: () => connection.ports.delete(port),
      });
      connection.ports.add(port);
      return port;
    } catch (error) {
      // Without a code of the broker's it was the connection that went: wait for the next one.
      if (amqpCode(error) === undefined && !connection.stopped && !stop.aborted && connection.model !== model) {
        return await this.#openPort(number, wanted, stop);
      }
      const fault: PortFault = {
        kind: 'channel',
        code: amqpCode(error),
        reason: topologyFault(error, subscription.name)?.message ?? String(error),
      };
      throw Object.assign(new Error(fault.reason, { cause: error }), fault);
    }
  }

  async #ensure(connection: AmqpConnection, subscription: string): Promise<void> {
    const { ensured } = connection;
    let applied = ensured.get(subscription);
    if (!applied) {
      applied = this.#apply(connection, this.#topologies.get(subscription)!);
      ensured.set(subscription, applied);
      applied.catch(() => ensured.delete(subscription));
    }
    await applied;
  }

  async #ensureQueue(connection: AmqpConnection, name: string, { dynamic }: Topology): Promise<void> {
    await this.#apply(connection, {
      exchange: undefined,
      queues: [{ name, arguments: dynamic?.arguments ?? {}, bind: undefined }],
      dynamic: undefined,
    });
  }

  async #apply(connection: AmqpConnection, topology: Topology): Promise<void> {
    const { model } = connection;
    if (!model) throw new Error(connection.down?.reason ?? 'not connected');
    const channel = await connection.whileOpen(model, model.createChannel());
    // The refusal reaches us through the call that caused it.
    channel.on('error', () => {});
    const applied = this.#config.declare ? declareTopology(channel, topology) : checkTopology(channel, topology);
    await connection.whileOpen(model, applied);
    await connection.whileOpen(model, channel.close());
  }
}

async function atOnce(): Promise<void> {}
