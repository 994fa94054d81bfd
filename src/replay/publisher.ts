/**
 * Sends single messages to where their subscriptions go, one at a time, and says what became of each. Rates matter little here: one
 * at a time it is plain which message a broker refuses. A message counts as delivered once it was confirmed and had not come back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
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
}

const PATIENCE_MS = 30_000;
const PRECONDITION_FAILED = 406;

export class Publisher implements AsyncDisposable {
  readonly #patienceMs: number;
  readonly #sinks = new Map<string, AmqpSink>();
  readonly #streams = new StreamSinks();
  readonly #ways = new Map<string, Way>();
  /** By sink: it was connected, with everything there that its subscriptions need. */
  readonly #started = new Map<string, Promise<boolean>>();

  constructor({ config, subscriptions, log, patienceMs = PATIENCE_MS }: PublisherOptions) {
    this.#patienceMs = patienceMs;
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
      started = sink.start(AbortSignal.timeout(this.#patienceMs)).then(() => sink.state === 'connected');
      this.#started.set(sink.name, started);
    }
    return started;
  }

  #way(subscription: SubscriptionConfig, as: BodyProperties): Way {
    const key = JSON.stringify([subscription.name, as.contentType, as.contentEncoding]);
    let way = this.#ways.get(key);
    if (!way) {
      way = new Way(this.#port(subscription, as), this.#patienceMs);
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
        return this.#streams.lanePort(to, subscription.format);
    }
  }
}

type Answer = Sent | { readonly kind: 'lost'; readonly fault: PortFault };

/** A confirm channel with one message under way at most, opened again when its connection is lost. */
class Way {
  readonly #lanePort: LanePort;
  readonly #patienceMs: number;
  #port: OpenPort | undefined;
  #answer: (answer: Answer) => void = () => undefined;
  #writable: () => void = () => undefined;
  #returned: string | undefined;

  constructor(lanePort: LanePort, patienceMs: number) {
    this.#lanePort = lanePort;
    this.#patienceMs = patienceMs;
  }

  async send(message: LaneMessage): Promise<Sent> {
    const patience = new AbortController();
    const late = sleep(this.#patienceMs, undefined, { signal: patience.signal }).then((): Answer => ({
      kind: 'unavailable',
      detail: `no answer within ${this.#patienceMs} ms`,
    }));
    late.catch(() => undefined);
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
      patience.abort();
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
