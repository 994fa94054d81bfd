/**
 * Sends single messages to where their subscriptions go, one at a time, and says what became of each. Rates matter little here: one
 * at a time it is plain which message a broker refuses. A message counts as delivered once it was confirmed and had not come back.
 */
import { AnyOf } from '../source/any-of.ts';
import { AmqpSink } from '../sinks/amqp-sink.ts';
import { StreamSinks } from '../sinks/stream-sinks.ts';
import { REPLAYED_HEADER, markedBody } from './mark.ts';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import type { LaneMessage, LanePort, OpenPort, PortFault } from '../lanes/port.ts';
import type { Log } from '../observe/log.ts';
import type { BodyProperties } from '../sinks/amqp-port.ts';

export type Sent =
  | { readonly kind: 'delivered' }
  /** This message is not taken; others may be. */
  | { readonly kind: 'refused' | 'unroutable'; readonly detail: string }
  /** The destination takes none now. */
  | { readonly kind: 'unavailable'; readonly detail: string };

export interface PublisherOptions {
  readonly config: Config;
  /** Those that something is to be sent for. */
  readonly subscriptions: ReadonlySet<string>;
  readonly log: Log;
  /** For how long a destination may say nothing. */
  readonly patienceMs?: number;
  /** Nothing is sent any more, nor waited for. */
  readonly stop?: AbortSignal;
  /** To a file or standard output, where somebody else writes there in this process; opened here otherwise. */
  readonly streamPort?: (subscription: SubscriptionConfig) => LanePort;
}

const PATIENCE_MS = 30_000;
const PRECONDITION_FAILED = 406;

export class Publisher implements AsyncDisposable {
  readonly #patienceMs: number;
  readonly #stop: AbortSignal | undefined;
  readonly #streamPort: PublisherOptions['streamPort'];
  readonly #sinks = new Map<string, AmqpSink>();
  readonly #streams = new StreamSinks();
  readonly #ways = new Map<string, Way>();
  /** By sink: it was connected, with everything there that its subscriptions need. */
  readonly #started = new Map<string, Promise<boolean>>();

  constructor({ config, subscriptions, log, patienceMs = PATIENCE_MS, stop, streamPort }: PublisherOptions) {
    this.#patienceMs = patienceMs;
    this.#stop = stop;
    this.#streamPort = streamPort;
    for (const sink of config.sinks) {
      const own = config.subscriptions.filter(
        ({ name, to }) => subscriptions.has(name) && 'sink' in to && to.sink === sink.name,
      );
      if (own.length === 0) continue;
      const meter = { reconnected: (): void => undefined };
      const { partitions } = config.pipeline;
      const one = { ...sink, connections: 1 };
      this.#sinks.set(sink.name, new AmqpSink({ config: one, subscriptions: own, partitions, log, meter }));
    }
  }

  /** Throws `UserError` for what the user must mend. */
  async send(subscription: SubscriptionConfig, message: LaneMessage, as: BodyProperties): Promise<Sent> {
    const { to } = subscription;
    const isStream = to.kind === 'file' || to.kind === 'stdout';
    if (isStream && as.contentEncoding !== undefined) {
      return { kind: 'refused', detail: `its body is compressed (${as.contentEncoding}), which a file does not say` };
    }
    const sink = 'sink' in to ? this.#sinks.get(to.sink) : undefined;
    if (sink && !(await this.#start(sink))) {
      return { kind: 'unavailable', detail: `RabbitMQ cannot be reached (${sink.down?.reason ?? 'no answer'})` };
    }
    const way = this.#way(subscription, as);
    return await way.send(
      isStream
        ? { ...message, body: markedBody(message.body, as.contentType === 'application/bson' ? 'bson' : 'json') }
        : { ...message, headers: { ...message.headers, ...REPLAYED_HEADER } },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const way of this.#ways.values()) way.close();
    await Promise.all([...this.#sinks.values(), this.#streams].map((sink) => sink.close()));
  }

  #start(sink: AmqpSink): Promise<boolean> {
    let started = this.#started.get(sink.name);
    if (!started) {
      started = this.#connect(sink);
      this.#started.set(sink.name, started);
    }
    return started;
  }

  async #connect(sink: AmqpSink): Promise<boolean> {
    using end = this.#end();
    await sink.start(end.signal);
    return sink.state === 'connected';
  }

  #end(): AnyOf {
    const late = new Error(`no answer within ${this.#patienceMs} ms`);
    return new AnyOf(this.#stop ? [this.#stop] : []).within(this.#patienceMs, late);
  }

  #way(subscription: SubscriptionConfig, as: BodyProperties): Way {
    const key = JSON.stringify([subscription.name, as.contentType, as.contentEncoding]);
    let way = this.#ways.get(key);
    if (!way) {
      way = new Way(this.#port(subscription, as), () => this.#end());
      this.#ways.set(key, way);
    }
    return way;
  }

  #port(subscription: SubscriptionConfig, as: BodyProperties): LanePort {
    const { to } = subscription;
    switch (to.kind) {
      case 'exchange':
      case 'queue':
        return this.#sinks.get(to.sink)!.lanePort(subscription, as);
      case 'port':
        return to.port;
      case 'stdout':
      case 'file':
        return this.#streamPort?.(subscription) ?? this.#streams.lanePort(to, subscription.format);
    }
  }
}

type Answer = Sent | { readonly kind: 'lost'; readonly fault: PortFault };

/** A confirm channel with one message under way at most, opened again when its connection is lost. */
class Way {
  readonly #lanePort: LanePort;
  readonly #end: () => AnyOf;
  #port: OpenPort | undefined;
  #answer: (answer: Answer) => void = () => undefined;
  #writable: () => void = () => undefined;
  #returned: string | undefined;

  /** `end`: when an answer comes too late. */
  constructor(lanePort: LanePort, end: () => AnyOf) {
    this.#lanePort = lanePort;
    this.#end = end;
  }

  async send(message: LaneMessage): Promise<Sent> {
    using end = this.#end();
    const late = unavailableAt(end.signal);
    const stop = new AbortController();
    try {
      for (;;) {
        const answer = await Promise.race([late, this.#try(message, stop.signal)]);
        if (answer.kind === 'unavailable') this.close();
        if (answer.kind !== 'lost') return answer;
        this.#port = undefined;
        const { kind, code, reason } = answer.fault;
        if (code === PRECONDITION_FAILED) return { kind: 'refused', detail: reason };
        if (kind === 'channel') return { kind: 'unavailable', detail: reason };
      }
    } finally {
      stop.abort();
    }
  }

  close(): void {
    this.#port?.close();
    this.#port = undefined;
  }

  async #try(message: LaneMessage, stop: AbortSignal): Promise<Answer> {
    this.#returned = undefined;
    const answered = new Promise<Answer>((resolve) => (this.#answer = resolve));
    try {
      const port = (this.#port ??= await this.#open(stop));
      await port.prepare(message.routingKey);
      while (!port.ready) {
        const lost = await Promise.race([answered, new Promise<void>((resolve) => (this.#writable = resolve))]);
        if (lost) return lost;
      }
      if (stop.aborted) return { kind: 'unavailable', detail: 'it took too long' };
      port.publish(message);
      return await answered;
    } catch (error) {
      const isFault = typeof error === 'object' && error !== null && 'reason' in error;
      const detail = isFault ? String(error.reason) : error instanceof Error ? error.message : String(error);
      return { kind: 'unavailable', detail };
    }
  }

  #open(stop: AbortSignal): Promise<OpenPort> {
    return this.#lanePort.open(
      {
        partition: 0,
        confirmed: () => {
          const detail = this.#returned;
          this.#answer(detail === undefined ? { kind: 'delivered' } : { kind: 'unroutable', detail });
        },
        refused: () =>
          this.#answer({ kind: 'refused', detail: 'the broker refused it (basic.nack); a full queue does so' }),
        returned: (_, reason) => (this.#returned = reason),
        writable: () => this.#writable(),
        closed: (fault) => {
          // Also between two messages, when nobody waits for an answer.
          this.#port = undefined;
          this.#answer({ kind: 'lost', fault });
        },
      },
      stop,
    );
  }
}

function unavailableAt(signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const fired = (): void => {
      const reason: unknown = signal.reason;
      resolve({ kind: 'unavailable', detail: reason instanceof Error ? reason.message : String(reason) });
    };
    if (signal.aborted) fired();
    else signal.addEventListener('abort', fired, { once: true });
  });
}
