/**
 * A RabbitMQ broker: one connection that is made again for ever, the topology of the subscriptions that publish to it, and a
 * confirm channel for each lane, so that what closes one lane's channel leaves the others alone.
 * At the first start, what only the user can mend is an error; the same later holds the lanes that it concerns.
 */
import { connect } from 'amqplib';
import { Backoff, sleep } from '../backoff.ts';
import { UserError } from '../errors.ts';
import { AmqpPort, contentTypeOf } from './amqp-port.ts';
import { Outbox } from './outbox.ts';
import { amqpCode, checkTopology, declareTopology, topologyFault, topologyOf } from './topology.ts';
import type { ChannelModel } from 'amqplib';
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
}

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;
const LOG_EVERY_TRIES = 30;
/**
 * What may wait for the socket before lanes stop publishing. With Node's own 16 KiB a large message ends the turn it is sent
 * in (`catch-up`, 200 events a message: 6.6 µs an event instead of 5.6).
 */
const SOCKET_BUFFER = { writableHighWaterMark: 1024 * 1024 };

export class AmqpSink {
  readonly name: string;
  readonly #config: SinkConfig;
  readonly #subscriptions: readonly SubscriptionConfig[];
  readonly #topologies: ReadonlyMap<string, Topology>;
  readonly #log: Log;
  readonly #meter: SinkMeter;
  readonly #stop = new AbortController();
  readonly #ports = new Set<AmqpPort>();
  #model: ChannelModel | undefined;
  /** The connection's. */
  #outbox: Outbox | undefined;
  #waiting: (() => void)[] = [];
  /** Per subscription, in this connection: its topology stands, or is being made. */
  /** Rejects once the connection is lost. */
  readonly #losses = new WeakMap<ChannelModel, Promise<never>>();
  #ensured = new Map<string, Promise<void>>();
  #blockedFor: string | undefined;
  #lastFault: string | undefined = 'not connected yet';
  #wasConnected = false;
  #loop: Promise<void> | undefined;

  constructor({ config, subscriptions, partitions, log, meter }: AmqpSinkOptions) {
    this.name = config.name;
    this.#config = config;
    this.#subscriptions = subscriptions;
    this.#topologies = new Map(subscriptions.map((s) => [s.name, topologyOf(s, partitions)]));
    this.#log = log;
    this.#meter = meter;
  }

  /** Why nothing can be sent; undefined while connected. */
  get downFor(): string | undefined {
    return this.#model ? undefined : this.#lastFault;
  }

  get state(): SinkState {
    if (this.#stop.signal.aborted) return 'stopped';
    if (this.#model) return 'connected';
    return this.#wasConnected ? 'reconnecting' : 'connecting';
  }

  /** The broker's reason while it blocks publishers (memory or disk alarm). */
  get blockedFor(): string | undefined {
    return this.#blockedFor;
  }

  /** Resolves once connected with every topology in place; throws `UserError` for what the user must mend. */
  async start(stop: AbortSignal): Promise<void> {
    const first = await this.#connectUntil(stop, true);
    if (!first) return;
    this.#loop = this.#keepConnected(first);
    for (const { name } of this.#subscriptions) await this.#ensureAtStart(name, stop);
  }

  lanePort(subscription: SubscriptionConfig): LanePort {
    return {
      open: (listener, stop) => this.#openPort(subscription, listener, stop),
      mend: async () => {
        this.#ensured.delete(subscription.name);
        if (this.#model) await this.#ensure(subscription.name);
      },
    };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    const model = this.#model;
    this.#model = undefined;
    if (model) await closeModel(model);
    // A connection that is just being made is closed by whoever makes it, when it comes.
    const waited = new AbortController();
    await Promise.race([this.#loop, sleep(CLOSE_TIMEOUT_MS, waited.signal)]);
    waited.abort();
  }

  async #ensureAtStart(subscription: string, stop: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    while (!stop.aborted) {
      try {
        await this.#connected(stop);
        await this.#ensure(subscription);
        return;
      } catch (error) {
        const fault = topologyFault(error, subscription);
        if (fault) throw fault;
        await sleep(backoff.next(), stop);
      }
    }
  }

  async #openPort(subscription: SubscriptionConfig, listener: PortListener, stop: AbortSignal): Promise<OpenPort> {
    const model = await this.#connected(stop);
    const outbox = this.#outbox;
    try {
      await this.#ensure(subscription.name);
      const channel = await this.#whileOpen(model, model.createConfirmChannel());
      const topology = this.#topologies.get(subscription.name)!;
      const port = new AmqpPort({
        channel,
        listener,
        outbox,
        exchange: topology.exchange ?? '',
        contentType: contentTypeOf(subscription),
        contentEncoding: subscription.compression,
        isBlocked: () => this.#blockedFor !== undefined,
        prepareQueue: topology.dynamic ? (name) => this.#ensureQueue(name, topology) : undefined,
        onClose: () => this.#ports.delete(port),
      });
      this.#ports.add(port);
      return port;
    } catch (error) {
      // Without a code of the broker's it was the connection that went: wait for the next one.
      if (amqpCode(error) === undefined && !this.#stop.signal.aborted && !stop.aborted && this.#model !== model) {
        return await this.#openPort(subscription, listener, stop);
      }
      const fault: PortFault = {
        kind: 'channel',
        code: amqpCode(error),
        reason: topologyFault(error, subscription.name)?.message ?? String(error),
      };
      throw Object.assign(new Error(fault.reason, { cause: error }), fault);
    }
  }

  /** The open connection, waited for; rejects only when stopped. */
  async #connected(stop: AbortSignal): Promise<ChannelModel> {
    while (!this.#model) {
      if (stop.aborted || this.#stop.signal.aborted) throw new Error('stopped');
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        stop.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    return this.#model;
  }

  #writable(): void {
    // Who was first is last the next time, or the lanes at the end would starve while the socket is the limit.
    const [first] = this.#ports;
    if (!first) return;
    this.#ports.delete(first);
    this.#ports.add(first);
    for (const port of this.#ports) port.writable();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #ensure(subscription: string): Promise<void> {
    let ensured = this.#ensured.get(subscription);
    if (!ensured) {
      ensured = this.#apply(this.#topologies.get(subscription)!);
      this.#ensured.set(subscription, ensured);
      ensured.catch(() => this.#ensured.delete(subscription));
    }
    await ensured;
  }

  async #ensureQueue(name: string, { dynamic }: Topology): Promise<void> {
    await this.#apply({
      exchange: undefined,
      queues: [{ name, arguments: dynamic?.arguments ?? {}, bind: undefined }],
      dynamic: undefined,
    });
  }

  async #apply(topology: Topology): Promise<void> {
    const model = this.#model;
    if (!model) throw new Error(this.#lastFault ?? 'not connected');
    const channel = await this.#whileOpen(model, model.createChannel());
    // The refusal reaches us through the call that caused it.
    channel.on('error', () => {});
    const applied = this.#config.declare ? declareTopology(channel, topology) : checkTopology(channel, topology);
    await this.#whileOpen(model, applied);
    await this.#whileOpen(model, channel.close());
  }

  /**
   * Rejects when the connection goes first: amqplib (2.3) then forgets some calls, the closing of a channel for one, and whoever
   * waits for them would do so for ever.
   */
  async #whileOpen<T>(model: ChannelModel, work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#losses.get(model)!]);
  }

  async #keepConnected(first: ChannelModel): Promise<void> {
    let model: ChannelModel | undefined = first;
    while (model) {
      await this.#untilLost(model);
      if (this.#stop.signal.aborted) return;
      this.#meter.reconnected();
      model = await this.#connectUntil(this.#stop.signal, false);
    }
  }

  /** Adopts a connection until it is lost. */
  #untilLost(model: ChannelModel): Promise<void> {
    return new Promise((resolve) => {
      let reason = 'the connection was closed';
      model.on('error', (error) => (reason = error.message));
      model.on('close', () => {
        if (this.#model === model) this.#model = undefined;
        // After a missed heartbeat amqplib waits for what it has still to send, on a link where nothing is taken any more.
        destroySocket(model);
        this.#blockedFor = undefined;
        this.#lastFault = reason;
        if (!this.#stop.signal.aborted) this.#log.warn({ sink: this.name, reason }, 'Connection to RabbitMQ lost.');
        resolve();
      });
    });
  }

  async #connectUntil(stop: AbortSignal, atStart: boolean): Promise<ChannelModel | undefined> {
    const backoff = new Backoff();
    while (!stop.aborted) {
      try {
        const model = await connect(withHeartbeat(this.#config.uri, this.#config.heartbeatMs), {
          ...SOCKET_BUFFER,
          noDelay: true,
          keepAlive: true,
          timeout: CONNECT_TIMEOUT_MS,
          clientProperties: { connection_name: `tailrace ${this.name}` },
        });
        if (stop.aborted) {
          await closeModel(model);
          return undefined;
        }
        model.on('blocked', (reason) => {
          this.#blockedFor = reason || 'the broker blocks publishers';
          this.#log.warn({ sink: this.name, reason }, 'RabbitMQ blocks publishing; waiting.');
        });
        model.on('unblocked', () => {
          this.#blockedFor = undefined;
          this.#log.info({ sink: this.name }, 'RabbitMQ takes messages again.');
          this.#writable();
        });
        const lost = new Promise<never>((_, reject) => {
          model.once('close', () => reject(new Error('the connection was lost')));
        });
        lost.catch(() => {});
        this.#losses.set(model, lost);
        this.#ensured = new Map();
        this.#lastFault = undefined;
        this.#wasConnected = true;
        this.#outbox = Outbox.of(model);
        this.#outbox?.onDrain(() => this.#writable());
        this.#model = model;
        this.#log.info({ sink: this.name }, 'Connected to RabbitMQ.');
        this.#wake();
        return model;
      } catch (error) {
        const fault = handshakeFault(error, this.name);
        if (fault && atStart) throw fault;
        this.#lastFault = error instanceof Error ? error.message : String(error);
        if (backoff.tries % LOG_EVERY_TRIES === 0) {
          this.#log.warn({ sink: this.name, reason: this.#lastFault }, 'RabbitMQ cannot be reached; trying on.');
        }
        await sleep(backoff.next(), stop);
      }
    }
    return undefined;
  }
}

/** amqplib takes the heartbeat from the URI alone, in whole seconds; the broker's default of 60 s is far too slow to notice. */
function withHeartbeat(uri: string, heartbeatMs: number): string {
  const url = new URL(uri);
  if (!url.searchParams.has('heartbeat')) {
    url.searchParams.set('heartbeat', String(Math.max(1, Math.round(heartbeatMs / 1000))));
  }
  return url.href;
}

/** Wrong credentials, or a virtual host that is not there or not ours. amqplib gives the code only inside its message. */
export function handshakeFault(error: unknown, sink: string): UserError | undefined {
  const said = error instanceof Error ? error.message : '';
  const code = /^Handshake terminated by server: (?<code>\d{3})/.exec(said)?.groups?.['code'];
  if (code === '403') {
    return new UserError(
      'credentials-refused',
      `sink "${sink}": RabbitMQ refused the user or password. Check them in \`sinks.${sink}.uri\`.`,
      { cause: error },
    );
  }
  // Where the virtual host is refused, amqplib (2.3) says only that it had expected something else.
  if (code === '530' || said.startsWith('Expected ConnectionOpenOk; got <ConnectionClose')) {
    return new UserError(
      'rights-missing',
      `sink "${sink}": RabbitMQ does not let this user into the virtual host, or there is none of that name. ` +
        `Check the path of \`sinks.${sink}.uri\` ("/" is written %2F), create it, or grant the user rights on it.`,
      { cause: error },
    );
  }
  return undefined;
}

async function closeModel(model: ChannelModel): Promise<void> {
  model.on('error', () => {});
  const closed = new Promise<void>((resolve) => model.once('close', () => resolve()));
  try {
    void model.close().catch(() => {});
  } catch {
    return; // Closed already.
  }
  const waited = new AbortController();
  await Promise.race([closed, sleep(CLOSE_TIMEOUT_MS, waited.signal)]);
  waited.abort();
  destroySocket(model);
}

function destroySocket(model: ChannelModel): void {
  (model.connection as unknown as { stream: { destroy(): void } }).stream.destroy();
}
