/**
 * One of a sink's connections to RabbitMQ, made again for ever once the first is there, and the channels of the lanes that it
 * carries. RabbitMQ slows a connection down to the slowest queue that is published to over it, and heartbeats, blocking and
 * losses are each connection's own.
 */
import { Backoff } from '../backoff.ts';
import { endsWithin, sleep } from '../waits.ts';
import { connectFault, connectTo, connectTrouble } from './connect.ts';
import { Outbox } from './outbox.ts';
import type { ChannelModel } from 'amqplib';
import type { SinkConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { SinkMeter } from '../observe/metrics.ts';
import type { AmqpPort } from './amqp-port.ts';

export interface AmqpConnectionOptions {
  readonly config: SinkConfig;
  /** Which of the sink's connections. The others are made once the first, 0, stands. */
  readonly number: number;
  readonly log: Log;
  readonly meter: SinkMeter;
}

/** Why nothing can be sent, for people. `sink-refused` is what only somebody can mend. */
export interface SinkDown {
  readonly code: 'sink-away' | 'sink-refused';
  readonly reason: string;
}

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;
const LOG_EVERY_TRIES = 30;

export class AmqpConnection {
  /** The channels that are open on it; which comes first changes, see `#writable`. */
  readonly ports = new Set<AmqpPort>();
  readonly #config: SinkConfig;
  readonly #number: number;
  readonly #log: Log;
  readonly #meter: SinkMeter;
  readonly #stop = new AbortController();
  #model: ChannelModel | undefined;
  #outbox: Outbox | undefined;
  #waiting: (() => void)[] = [];
  /** Rejects once the connection is lost. */
  readonly #losses = new WeakMap<ChannelModel, Promise<never>>();
  #ensured = new Map<string, Promise<void>>();
  #blockedFor: string | undefined;
  #lastFault: SinkDown | undefined = { code: 'sink-away', reason: 'not connected yet' };
  #wasConnected = false;
  #refused = false;
  #loop: Promise<void> | undefined;

  constructor({ config, number, log, meter }: AmqpConnectionOptions) {
    this.#config = config;
    this.#number = number;
    this.#log = log;
    this.#meter = meter;
  }

  /** While it is open. */
  get model(): ChannelModel | undefined {
    return this.#model;
  }

  /** The open connection's; undefined where amqplib must publish. */
  get outbox(): Outbox | undefined {
    return this.#outbox;
  }

  /** Per subscription, since it was last made: its topology stands, or is being made. */
  get ensured(): Map<string, Promise<void>> {
    return this.#ensured;
  }

  /** Undefined while connected. */
  get down(): SinkDown | undefined {
    return this.#model ? undefined : (this.#lastFault ?? { code: 'sink-away', reason: 'not connected' });
  }

  /** The broker's reason while it blocks publishers (memory or disk alarm). */
  get blockedFor(): string | undefined {
    return this.#blockedFor;
  }

  get wasConnected(): boolean {
    return this.#wasConnected;
  }

  /** The broker lets us have the first one, and not this one. That stays so: its lanes have gone to another. */
  get refused(): boolean {
    return this.#refused;
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Resolves once connected, or at `stop`; throws `UserError` for what the user must mend. */
  async start(stop: AbortSignal): Promise<void> {
    const first = await this.#connectUntil(AbortSignal.any([stop, this.#stop.signal]), true);
    if (first) this.#loop = this.#keepConnected(first);
  }

  /** The open connection, waited for; undefined where it is refused. Rejects only when stopped. */
  async connected(stop: AbortSignal): Promise<ChannelModel | undefined> {
    while (!this.#model && !this.#refused) {
      if (stop.aborted || this.stopped) throw new Error('stopped');
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        stop.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    return this.#model;
  }

  /**
   * Rejects when the connection goes first: amqplib (2.3) then forgets some calls, the closing of a channel for one, and whoever
   * waits for them would do so for ever.
   */
  async whileOpen<T>(model: ChannelModel, work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#losses.get(model)!]);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    const model = this.#model;
    this.#model = undefined;
    if (model) await closeModel(model);
    // A connection that is just being made is closed by whoever makes it, when it comes.
    await endsWithin(CLOSE_TIMEOUT_MS, Promise.resolve(this.#loop));
  }

  #writable(): void {
    // Who was first is last the next time, or the lanes at the end would starve while the socket is the limit.
    const [first] = this.ports;
    if (!first) return;
    this.ports.delete(first);
    this.ports.add(first);
    for (const port of this.ports) port.writable();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #keepConnected(first: ChannelModel): Promise<void> {
    let model: ChannelModel | undefined = first;
    while (model) {
      await this.#losses.get(model)!.catch(() => {});
      if (this.stopped) return;
      this.#meter.reconnected();
      model = await this.#connectUntil(this.#stop.signal, false);
    }
  }

  async #connectUntil(stop: AbortSignal, atStart: boolean): Promise<ChannelModel | undefined> {
    const backoff = new Backoff();
    while (!stop.aborted) {
      try {
        const model = await connectTo(this.#config, {
          connectionName: `tailrace ${this.#config.name}`,
          timeoutMs: CONNECT_TIMEOUT_MS,
        });
        if (stop.aborted || this.stopped) {
          await closeModel(model);
          return undefined;
        }
        this.#adopt(model);
        return model;
      } catch (error) {
        const fault = connectFault(error, this.#config);
        if (fault && atStart) {
          if (this.#number === 0) throw fault;
          this.#giveUp(error);
          return undefined;
        }
        const isNews = this.#failed(error);
        if (isNews || backoff.tries % LOG_EVERY_TRIES === 0) this.#sayDown();
        await sleep(backoff.next(), stop);
      }
    }
    return undefined;
  }

  /** Whether it is of another kind than before: who was away for minutes may refuse the login once it is there. */
  #failed(error: unknown): boolean {
    const before = this.#lastFault?.code;
    const trouble = connectTrouble(error, this.#config);
    this.#lastFault = trouble
      ? { code: 'sink-refused', reason: trouble.text }
      : { code: 'sink-away', reason: error instanceof Error ? error.message : String(error) };
    return this.#lastFault.code !== before;
  }

  #sayDown(): void {
    const { code, reason } = this.#lastFault!;
    if (code === 'sink-refused') this.#log.error({ code, ...this.#name, reason }, 'RabbitMQ refuses; trying on.');
    else this.#log.warn({ code, ...this.#name, reason }, 'RabbitMQ cannot be reached; trying on.');
  }

  #giveUp(error: unknown): void {
    const { connections, name } = this.#config;
    this.#refused = true;
    this.#log.warn(
      { code: 'connections-limited', ...this.#name, err: error },
      'RabbitMQ lets us have some connections, and refuses this one: its lanes go over the others. Most likely the virtual host or the ' +
        'user may have no more (see `rabbitmqctl list_vhost_limits` and `list_user_limits`): raise the limit, or lower ' +
        `\`sinks.${name}.connections\`, now ${connections}.`,
    );
    this.#wake();
  }

  /** Until it is lost. Throws where it is so already: what comes right behind the greeting comes before anybody can listen. */
  #adopt(model: ChannelModel): void {
    const { expectSocketClose, blocked } = internals(model);
    if (expectSocketClose) throw new Error('RabbitMQ closed the connection as soon as it was open');
    const lost = this.#loss(model);
    lost.catch(() => {});
    this.#losses.set(model, lost);
    model.on('blocked', (reason) => this.#blocked(reason));
    model.on('unblocked', () => {
      this.#blockedFor = undefined;
      this.#log.info(this.#name, 'RabbitMQ takes messages again.');
      this.#writable();
    });
    this.#ensured = new Map();
    this.#lastFault = undefined;
    this.#wasConnected = true;
    this.#outbox = Outbox.of(model);
    this.#outbox?.onDrain(() => this.#writable());
    this.#model = model;
    this.#log.info(this.#name, 'Connected to RabbitMQ.');
    if (blocked) this.#blocked('');
    this.#wake();
  }

  /** Rejects once it is lost. */
  #loss(model: ChannelModel): Promise<never> {
    return new Promise((_, reject) => {
      let reason = 'the connection was closed';
      model.on('error', (error) => (reason = error.message));
      model.once('close', () => {
        if (this.#model === model) this.#model = undefined;
        // After a missed heartbeat amqplib waits for what it has still to send, on a link where nothing is taken any more.
        internals(model).stream.destroy();
        this.#blockedFor = undefined;
        this.#lastFault = { code: 'sink-away', reason };
        if (!this.stopped) this.#log.warn({ code: 'sink-away', ...this.#name, reason }, 'Connection to RabbitMQ lost.');
        reject(new Error('the connection was lost'));
      });
    });
  }

  #blocked(reason: string): void {
    this.#blockedFor = reason || 'the broker blocks publishers';
    this.#log.warn({ code: 'sink-blocked', ...this.#name, reason }, 'RabbitMQ blocks publishing; waiting.');
  }

  get #name(): { readonly sink: string; readonly connection: number } {
    return { sink: this.#config.name, connection: this.#number };
  }
}

async function closeModel(model: ChannelModel): Promise<void> {
  model.on('error', () => {});
  const closed = new Promise<void>((resolve) => model.once('close', () => resolve()));
  try {
    void model.close().catch(() => {});
  } catch {
    return; // Closed already.
  }
  await endsWithin(CLOSE_TIMEOUT_MS, closed);
  internals(model).stream.destroy();
}

/** What amqplib (2.3) knows of a connection and does not tell. */
function internals(model: ChannelModel): Internals {
  return model.connection as unknown as Internals;
}

interface Internals {
  readonly stream: { destroy(): void };
  /** It was closed, by whoever. */
  readonly expectSocketClose: boolean;
  readonly blocked: boolean;
}
