/**
 * What a subscription would match and send, were it there: counts and sample messages of what was written lately, made by the real
 * workers with all that it hides hidden. Invariants: nothing is sent or kept; bounded in time, entries and bytes; it reads by itself,
 * from a secondary where there is one.
 */
import type { Config, SubscriptionConfig } from '../config/config.ts';
import { NotNowError, PositionLostError, UserError } from '../errors.ts';
import { composeMessage, recordField } from '../lanes/run.ts';
import type { LaneMessage } from '../lanes/port.ts';
import { bodyPropertiesOf } from '../sinks/amqp-port.ts';
import type { BodyProperties } from '../sinks/amqp-port.ts';
import { Field, GATE, MESSAGE_TYPES, RECORD_FIELDS } from '../worker/protocol.ts';
import type { BatchResult } from '../worker/protocol.ts';
import { AnyOf } from '../source/any-of.ts';
import { encodeLately } from './lately.ts';
import type { Read } from './lately.ts';
import { withSource } from './source-look.ts';

export interface PreviewOptions {
  /** With the subscription in it. */
  readonly config: Config;
  readonly subscription: SubscriptionConfig;
  readonly seconds: number;
  readonly samples: number;
}

export interface NamespaceCount {
  readonly ns: string;
  readonly operation: string;
  readonly events: number;
}

export interface ParkedCount {
  readonly reason: string;
  /** The first one's. */
  readonly detail: string;
  readonly events: number;
}

export interface Preview extends Read {
  /** The most frequent first. */
  readonly counts: readonly NamespaceCount[];
  /** What would be set aside instead of sent. */
  readonly parked: readonly ParkedCount[];
  /** The newest, the oldest of them first. */
  readonly samples: readonly LaneMessage[];
  readonly as: BodyProperties;
}

/** For reading; finding a member comes before. */
const READ_MS = 5_000;
const MOST_ENTRIES = 200_000;
const MOST_BYTES = 128 * 2 ** 20;

const NEARER = 4;

/** The number of the subscription in the plan; behind it is the one that counts. */
const SENDS = 0;

/** Throws `NotNowError`, `UserError` and `PositionLostError`. */
export async function preview(options: PreviewOptions): Promise<Preview> {
  // A change stream does not tell how far back it could go: less far, then.
  for (let { seconds } = options; ; seconds = Math.floor(seconds / NEARER)) {
    try {
      return await lookBack({ ...options, seconds });
    } catch (error) {
      if (error instanceof PositionLostError && seconds >= NEARER) continue;
      if (error instanceof PositionLostError || error instanceof UserError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new NotNowError(`Source "${options.subscription.source}" cannot be read now (${why}).`, { cause: error });
    }
  }
}

async function lookBack({ config, subscription, seconds, samples }: PreviewOptions): Promise<Preview> {
  const of = config.sources.find(({ name }) => name === subscription.source)!;
  const only = { ...config, subscriptions: [subscription] };
  return await withSource(only, { ...of, uri: secondaryOk(of.uri) }, async ({ source, budget, stop }) => {
    const identity = await source.connect(stop);
    const end = performance.now() + READ_MS;
    for (let back = seconds; ;) {
      using enough = new AnyOf([stop]).within(end - performance.now(), new Error('enough was read'));
      const tally = new Tally({ source: of.name, partitions: config.pipeline.partitions, samples });
      const read = await encodeLately(
        { config, of, source, identity, budget },
        { seconds: back, mostEntries: MOST_ENTRIES, mostBytes: MOST_BYTES },
        {
          subscriptions: [subscription, counting(subscription)],
          use: (result) => tally.add(result),
          stop: enough.signal,
        },
      );
      const seen = read.to.seconds - read.from.seconds;
      const unseen = read.from.seconds + back - read.to.seconds;
      // Where one second holds too much, at least the last one is shown.
      const nearer = Math.min(Math.max(Math.floor(seen / 2), 1), unseen);
      if (read.whole || nearer < 1 || nearer >= back || end - performance.now() < READ_MS / 2) {
        return { ...read, ...tally.outcome, as: bodyPropertiesOf(subscription) };
      }
      // The newest is what is asked for: where there is too much of it, less far back.
      back = nearer;
    }
  });
}

/** The same events, each by itself, with its namespace for a routing key, and nothing in its way. */
function counting(subscription: SubscriptionConfig): SubscriptionConfig {
  const { fields, mask, headers, cloudEvents, compression, ...same } = subscription;
  void [fields, mask, headers, cloudEvents, compression];
  return {
    ...same,
    format: 'json',
    batch: { ...subscription.batch, maxEvents: 1 },
    to: { kind: 'exchange', sink: '', exchange: '', routingKey: '{db}.{coll}', queues: [] },
  };
}

class Tally {
  readonly #o: { readonly source: string; readonly partitions: number; readonly samples: number };
  readonly #counts = new Map<string, NamespaceCount>();
  readonly #parked = new Map<string, ParkedCount>();
  readonly #samples: LaneMessage[] = [];

  constructor(options: { readonly source: string; readonly partitions: number; readonly samples: number }) {
    this.#o = options;
  }

  get outcome() {
    return {
      counts: [...this.#counts.values()].toSorted((a, b) => b.events - a.events),
      parked: [...this.#parked.values()],
      samples: this.#samples,
    };
  }

  add(result: BatchResult): void {
    const { source, partitions, samples } = this.#o;
    const { records, bodies, routingKeys, headers, parked } = result;
    const encoded = {
      source,
      records,
      bodies: Buffer.from(bodies.buffer, bodies.byteOffset, bodies.byteLength),
      routingKeys,
      headers,
    };
    const sent: number[] = [];
    for (let record = 0; record < records.length / RECORD_FIELDS; record++) {
      const type = recordField(encoded, record, Field.type);
      if (type === GATE) continue;
      const number = Math.floor(recordField(encoded, record, Field.lane) / partitions);
      if (number === SENDS) sent.push(record);
      else this.#count(routingKeys[recordField(encoded, record, Field.routingKey)]!, MESSAGE_TYPES[type]!);
    }
    for (const { subscription, reason, detail } of parked) {
      if (subscription === SENDS) this.#park(reason, detail);
    }
    for (const record of samples === 0 ? [] : sent.slice(-samples)) {
      const message = composeMessage([{ delivery: encoded, record }]);
      // The buffer is the whole batch's.
      this.#samples.push({ ...message, body: Buffer.from(message.body) });
    }
    this.#samples.splice(0, Math.max(0, this.#samples.length - samples));
  }

  #count(key: string, operation: string): void {
    // Of a whole database there is no collection.
    const ns = key.replace(/\.$/, '');
    const name = `${operation} ${ns}`;
    this.#counts.set(name, { ns, operation, events: (this.#counts.get(name)?.events ?? 0) + 1 });
  }

  #park(reason: string, detail: string): void {
    const before = this.#parked.get(reason);
    this.#parked.set(reason, { reason, detail: before?.detail ?? detail, events: (before?.events ?? 0) + 1 });
  }
}

/** Where the user has not said otherwise. */
function secondaryOk(uri: string): string {
  if (/[?&]readPreference=/i.test(uri)) return uri;
  const authority = uri.slice(uri.lastIndexOf('@') + 1).replace(/^[a-z+]+:\/\//i, '');
  if (authority.includes('?')) return `${uri}&readPreference=secondaryPreferred`;
  return `${uri}${authority.includes('/') ? '' : '/'}?readPreference=secondaryPreferred`;
}
