/**
 * All that subscriptions deliver to: RabbitMQ brokers and the locks on them, files, standard output. Sinks and subscriptions come and go
 * while the others flow: a new sink stands beside the old one of its name until it takes its place.
 */
import { endsWithin } from '../waits.ts';
import { NotNowError } from '../errors.ts';
import { AnyOf } from '../source/any-of.ts';
import { AmqpSink } from './amqp-sink.ts';
import { SinkLock } from './lock.ts';
import { Signal } from './signal.ts';
import { StreamSinks } from './stream-sinks.ts';
import type { Config, SinkConfig, SubscriptionConfig } from '../config/config.ts';
import type { LanePort } from '../lanes/port.ts';
import type { Log } from '../observe/log.ts';
import type { Metrics } from '../observe/metrics.ts';

export interface DestinationsOptions {
  readonly config: Config;
  readonly metrics: Pick<Metrics, 'sink'>;
  readonly log: Log;
  readonly lockWaitMs: number | undefined;
  /** Subscriptions that somebody has paused before the start. */
  readonly paused: ReadonlySet<string>;
}

/** A broker, as one configuration of a sink has it. */
export interface Broker {
  readonly config: SinkConfig;
  readonly sink: AmqpSink;
  readonly lock: SinkLock | undefined;
}

/** A new sink's broker must have answered by then. */
const START_MS = 10_000;

export class Destinations {
  readonly #o: DestinationsOptions;
  /** By sink. */
  readonly #brokers = new Map<string, Broker>();
  readonly #streams = new StreamSinks();
  /** By subscription: its source is connected, and its start is stored. */
  readonly #begun = new Map<string, Signal>();
  #stop = new AbortController().signal;

  constructor(options: DestinationsOptions) {
    this.#o = options;
    const { config } = options;
    for (const { name } of config.subscriptions) this.#begun.set(name, new Signal());
    for (const sink of config.sinks) this.#brokers.set(sink.name, this.#broker(sink, config));
  }

  get sinks(): readonly AmqpSink[] {
    return [...this.#brokers.values()].map(({ sink }) => sink);
  }

  get locks(): readonly SinkLock[] {
    return [...this.#brokers.values()].flatMap(({ lock }) => lock ?? []);
  }

  /** Resolves once every broker is connected, with what is needed there, and every lock is settled; throws `UserError`. */
  start(stop: AbortSignal): readonly Promise<void>[] {
    this.#stop = stop;
    return [...this.#brokers.values()].flatMap(({ sink, lock }) => [
      sink.start(stop),
      ...(lock ? [lock.run(stop)] : []),
    ]);
  }

  /** Its source is connected, and its start is stored. */
  begun(subscription: string, replicaSetId: string): void {
    this.#begun.get(subscription)?.fire();
    for (const lock of this.locks) lock.identify(subscription, replicaSetId);
  }

  /** Of one that is in the configuration, or has joined. */
  port(config: SubscriptionConfig): LanePort {
    const { to } = config;
    switch (to.kind) {
      case 'exchange':
      case 'queue': {
        const { sink, lock } = this.#brokers.get(to.sink)!;
        const port = sink.lanePort(config);
        return lock?.guard(config.name, port) ?? port;
      }
      case 'port':
        return to.port;
      case 'stdout':
      case 'file':
        return this.#streams.lanePort(to, config.format);
    }
  }

  /** One that takes its place with `replace`; the subscriptions that publish to it join it then. Throws `UserError` and `NotNowError`. */
  async connect(config: SinkConfig, pipeline: Pick<Config, 'pipeline'>): Promise<Broker> {
    const broker = this.#broker(config, { ...pipeline, subscriptions: [] });
    using near = new AnyOf([this.#stop]).within(START_MS, new Error('the broker did not answer in time'));
    try {
      await broker.sink.start(near.signal);
      if (!near.signal.aborted) return broker;
      const { down } = broker.sink;
      throw new NotNowError(
        `Sink "${config.name}" cannot be reached: ${down?.reason ?? 'the broker does not answer'}.`,
      );
    } catch (error) {
      await broker.sink.close();
      throw error;
    }
  }

  /** One that takes its place with `replace`, whenever it answers. */
  open(config: SinkConfig, pipeline: Pick<Config, 'pipeline'>): Broker {
    const broker = this.#broker(config, { ...pipeline, subscriptions: [] });
    broker.sink.start(this.#stop).catch((error: unknown) => {
      this.#o.log.error({ code: 'sink-refused', sink: config.name, err: error }, 'RabbitMQ refuses.');
    });
    return broker;
  }

  /** Whether it can be delivered: makes what it needs there. Throws `UserError` and `NotNowError`. */
  async prepare(subscription: SubscriptionConfig, fresh: readonly Broker[]): Promise<void> {
    const { to } = subscription;
    if (!('sink' in to)) return;
    const broker = fresh.find(({ config }) => config.name === to.sink) ?? this.#brokers.get(to.sink);
    if (!broker) return;
    const { sink } = broker;
    if (await endsWithin(START_MS, sink.prepare(subscription))) return;
    const why = sink.blockedFor === undefined ? 'it does not answer' : `it takes nothing (${sink.blockedFor})`;
    throw new NotNowError(`Sink "${sink.name}" cannot be asked for what "${subscription.name}" needs: ${why}.`);
  }

  join(subscription: SubscriptionConfig): void {
    const { name, to } = subscription;
    this.#begun.set(name, new Signal());
    if (!('sink' in to)) return;
    const { sink, lock } = this.#brokers.get(to.sink)!;
    sink.join(subscription);
    lock?.join(name, this.#stop);
  }

  /** Its lanes are closed. */
  async leave(subscription: string): Promise<void> {
    this.#begun.delete(subscription);
    await Promise.all(
      [...this.#brokers.values()].map(async ({ sink, lock }) => {
        sink.leave(subscription);
        await lock?.leave(subscription);
      }),
    );
  }

  /** Nobody publishes to the one before; it is closed by whoever gets it. */
  replace(name: string, broker: Broker | undefined): Broker | undefined {
    const before = this.#brokers.get(name);
    if (broker) this.#brokers.set(name, broker);
    else this.#brokers.delete(name);
    return before;
  }

  async close(): Promise<void> {
    await Promise.all([...this.sinks.map(async (sink) => sink.close()), this.#streams.close()]);
  }

  #broker(config: SinkConfig, { pipeline, subscriptions }: Pick<Config, 'pipeline' | 'subscriptions'>): Broker {
    const { metrics, log, lockWaitMs } = this.#o;
    const own = subscriptions.filter(({ to }) => 'sink' in to && to.sink === config.name);
    const sink = new AmqpSink({
      config,
      subscriptions: own,
      partitions: pipeline.partitions,
      log,
      meter: metrics.sink(config.name),
      // A start that fails at the source leaves nothing behind at the broker.
      mayDeclare: (name, stop) => {
        // One that is resumed while others flow holds its lanes where it is refused, and ends nothing.
        const begun = this.#o.paused.has(name) ? new Signal() : (this.#begun.get(name) ?? new Signal());
        return begun.fired(stop);
      },
    });
    if (!config.lock) return { config, sink, lock: undefined };
    const names = own.map(({ name }) => name);
    const lock = new SinkLock({ config, subscriptions: names, connection: sink.first, log, waitMs: lockWaitMs });
    return { config, sink, lock };
  }
}
