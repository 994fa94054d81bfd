/**
 * Makes the messages of a parked event once more, by today's configuration: an entry goes through the workers again, a shaped event
 * through the envelope that it did not come to, and a finished message is what it is. Nothing is sent here.
 * Invariants: the `_id` is the one that was parked; of an entry only what was parked comes, unless nothing of it was delivered.
 */
import { subscriptionPlan } from '../feed/worker-plan.ts';
import { shapeHash } from '../config/routing-hash.ts';
import { templateNames } from '../worker/template.ts';
import { partsOf } from '../checkpoint/parked-filter.ts';
import { composeMessage, fittingId, recordField } from '../lanes/run.ts';
import { bodyPropertiesOf } from '../sinks/amqp-port.ts';
import { compress } from '../worker/compress.ts';
import { Crafter } from '../worker/craft.ts';
import { Output } from '../worker/output.ts';
import { SharedPlan } from '../worker/plan.ts';
import { WorkerPool } from '../worker/pool.ts';
import { BEGIN_INDEX, END_INDEX, Field, GATE, RECORD_FIELDS } from '../worker/protocol.ts';
import { MalformedBson } from '../worker/bson.ts';
import { textField, timeOf } from '../worker/event-fields.ts';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import type { ParkedRecord, ParkedSummary } from '../checkpoint/record.ts';
import type { LaneMessage } from '../lanes/port.ts';
import type { Log } from '../observe/log.ts';
import type { BodyProperties } from '../sinks/amqp-port.ts';
import type { BatchResult, ParkReason, SubscriptionPlan } from '../worker/protocol.ts';

export type Remade =
  | { readonly kind: 'made'; readonly messages: readonly LaneMessage[]; readonly as: BodyProperties }
  /** It cannot be delivered; `reason` where it is another one than before. */
  | { readonly kind: 'kept'; readonly reason?: ParkReason; readonly detail: string };

/** Of a server that says nothing of itself: what all of today's have. */
const USUAL_VERSION = 600;
const WALL_TIME_SINCE = 600;

export class Remaker implements AsyncDisposable {
  readonly #config: Config;
  /** What needs one of its own: the subscription, the source's name in its `_id`, and how it was read. */
  readonly #plans = new Map<string, SharedPlan>();
  readonly #pool: WorkerPool;
  readonly #shaped = new Output(64 * 1024);

  constructor(config: Config, log: Log) {
    this.#config = config;
    this.#pool = new WorkerPool({
      threads: { least: 1, most: 1 },
      // Some of these have ended a worker before.
      quick: false,
      log,
    });
  }

  async remake(record: ParkedRecord): Promise<Remade> {
    const subscription = this.#config.subscriptions.find(({ name }) => name === record.subscription);
    if (subscription === undefined) return { kind: 'kept', detail: 'its subscription is not configured' };
    switch (record.payloadKind) {
      case 'message':
        return this.#message(record, subscription);
      case 'event':
        return this.#event(record, subscription);
      case 'entry':
        try {
          return await this.#entry(record, subscription);
        } catch (error) {
          // So damaged that not even its position can be read.
          const detail = error instanceof Error ? error.message : String(error);
          return { kind: 'kept', reason: 'undecodable', detail };
        }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.close();
  }

  #plan(record: ParkedSummary, subscription: SubscriptionConfig): SharedPlan {
    const name = sourceOf(record, subscription);
    const { stream } = record.origin ?? {};
    const key = JSON.stringify([subscription.name, name, stream]);
    const known = this.#plans.get(key);
    if (known) return known;
    const { partitions, partitionBy } = this.#config.pipeline;
    const changeStream = stream && { expanded: stream === 'expanded' };
    const source = { name, ...(changeStream && { changeStream }), subscriptions: [this.#singly(subscription)] };
    const plan = new SharedPlan({ source, partitions, partitionBy });
    this.#plans.set(key, plan);
    return plan;
  }

  /** An event a message, in the form that its messages have. */
  #singly(subscription: SubscriptionConfig): SubscriptionPlan {
    return { ...subscriptionPlan(this.#config, subscription), maxBytes: 0 };
  }

  #message(record: ParkedRecord, subscription: SubscriptionConfig): Remade {
    const { message, id, payload, contentType, contentEncoding, headers } = record;
    if (message === undefined) {
      return { kind: 'kept', detail: 'it was parked by a version that did not keep its routing key' };
    }
    const { routingKey, type, wallSeconds, events, partition } = message;
    return {
      kind: 'made',
      as: { contentType: contentType ?? bodyPropertiesOf(subscription).contentType, contentEncoding },
      messages: [
        {
          body: Buffer.from(payload),
          routingKey: this.#fixedKey(subscription, partition) ?? routingKey,
          type,
          messageId: id,
          events,
          wallSeconds,
          headers,
        },
      ],
    };
  }

  /** Today's routing key or queue, where it does not hang on the event: nobody looks into a finished message. */
  #fixedKey({ name, source, to }: SubscriptionConfig, partition: number): string | undefined {
    if (to.kind !== 'exchange' && to.kind !== 'queue') return '';
    const template = to.kind === 'exchange' ? to.routingKey : to.queue;
    if (templateNames(template).some((one) => !['source', 'subscription', 'partition'].includes(one))) return undefined;
    return template
      .replaceAll('{source}', source)
      .replaceAll('{subscription}', name)
      .replaceAll('{partition}', String(partition % this.#config.pipeline.partitions));
  }

  #event(record: ParkedRecord, subscription: SubscriptionConfig): Remade {
    const { payload: event, origin, id, ns } = record;
    if (event.length === 0) return { kind: 'kept', detail: 'its bytes were not kept, since they could not be shaped' };
    const plan = this.#singly(subscription);
    const limit = plan.maxMessageBytes;
    const dot = ns.indexOf('.');
    const place = {
      db: dot < 0 ? ns : ns.slice(0, dot),
      coll: dot < 0 ? '' : ns.slice(dot + 1),
      partition: (origin?.partition ?? 0) % this.#config.pipeline.partitions,
      reshape: origin?.shape !== shapeHash(subscription),
    };
    const output = this.#shaped;
    try {
      const raw = subscription.compression === undefined ? limit : Number.MAX_SAFE_INTEGER;
      const crafter = new Crafter(plan, sourceOf(record, subscription));
      const crafted = crafter.craftAgain(event, place, { out: output, pos: 0, limit: raw });
      if (crafted.kind === 'filtered') return NOT_WANTED;
      if (crafted.kind === 'parked') return { ...crafted, kind: 'kept' };
      const isLine = plan.maxEvents > 1 && plan.format !== 'bson';
      const written = Buffer.concat([
        output.bytes.subarray(0, Math.min(crafted.end, output.bytes.length)),
        Buffer.from(isLine ? '\n' : ''),
      ]);
      const body = subscription.compression ? Buffer.from(compress(written, subscription.compression)) : written;
      if (crafted.end > raw || body.length > limit) return tooLarge(Math.max(crafted.end, body.length), limit);
      const message = {
        body,
        routingKey: crafted.key,
        type: plan.maxEvents > 1 ? 'batch' : textField(event, 0, 'operationType'),
        messageId: fittingId(id),
        events: 1,
        wallSeconds: Math.floor(timeOf(event).wallMs / 1000),
        headers: crafted.headers,
      };
      return { kind: 'made', messages: [message], as: bodyPropertiesOf(subscription) };
    } catch (error) {
      if (!(error instanceof MalformedBson)) throw error;
      return { kind: 'kept', reason: 'undecodable', detail: error.message };
    }
  }

  async #entry(record: ParkedRecord, subscription: SubscriptionConfig): Promise<Remade> {
    const { origin, payload } = record;
    const serverVersion = origin?.serverVersion ?? USUAL_VERSION;
    const parts = partsOf(record.id);
    if (parts?.index === 'end' && origin?.firstIndex !== undefined) {
      return { kind: 'kept', detail: 'how many operations its transaction had is not known any more' };
    }
    const results = await this.#pool.encode(
      { bytes: batchOf(payload), entries: 1, last: undefined },
      {
        plan: this.#plan(record, subscription),
        wallTime: serverVersion >= WALL_TIME_SINCE,
        serverVersion,
        collated: origin?.collated ?? [],
        ...(origin?.firstIndex !== undefined && { piece: { firstIndex: origin.firstIndex, last: false } }),
      },
    );
    const messages: LaneMessage[] = [];
    for (const result of results) {
      const parked = result.parked.find(({ id, whole }) => whole === true || id === record.id || origin?.whole);
      if (parked) return { kind: 'kept', reason: parked.reason, detail: parked.detail };
      if (result.marks.length > 0) {
        return { kind: 'kept', detail: 'it tells of a transaction whose operations lie in other entries of the oplog' };
      }
      messages.push(
        ...messagesOf(result, sourceOf(record, subscription), (index) => isAsked(index, parts?.index, record)),
      );
    }
    return messages.length === 0 ? NOT_WANTED : { kind: 'made', messages, as: bodyPropertiesOf(subscription) };
  }
}

const NOT_WANTED: Remade = { kind: 'kept', detail: 'its subscription does not ask for it any more' };

function tooLarge(bytes: number, limit: number): Remade {
  return { kind: 'kept', reason: 'too-large', detail: `${bytes} bytes, more than the limit of ${limit}` };
}

/** Whether the operation of this number is what was parked. */
function isAsked(
  number: number,
  index: number | 'begin' | 'end' | undefined,
  { origin, reason }: ParkedSummary,
): boolean {
  // A version that did not say whether all of an entry was parked parked all of one for these: repeated rather than lost.
  if (origin === undefined && (reason === 'undecodable' || reason === 'worker-crash')) return true;
  // What a piece does not tell: whether its transaction's beginning was delivered with another one.
  if (origin?.whole) return origin.firstIndex === undefined || number < END_INDEX;
  if (index === 'begin') return number === BEGIN_INDEX;
  if (index === 'end') return number === END_INDEX;
  return index === undefined || number === index;
}

function messagesOf(result: BatchResult, source: string, isWanted: (index: number) => boolean): LaneMessage[] {
  const { records, bodies, routingKeys, headers } = result;
  const delivery = {
    source,
    records,
    bodies: Buffer.from(bodies.buffer, bodies.byteOffset, bodies.byteLength),
    routingKeys,
    headers,
  };
  const messages: LaneMessage[] = [];
  for (let record = 0; record < records.length / RECORD_FIELDS; record++) {
    if (recordField(delivery, record, Field.type) === GATE) continue;
    if (!isWanted(recordField(delivery, record, Field.firstIndex))) continue;
    messages.push(composeMessage([{ delivery, record }]));
  }
  return messages;
}

/** The name it had when it was parked: an `_id` must not change. */
function sourceOf({ id }: ParkedSummary, { source }: SubscriptionConfig): string {
  return partsOf(id)?.source ?? source;
}

/** An array of one document. */
function batchOf(entry: Uint8Array): Uint8Array {
  const head = Buffer.from('\0\0\0\0\x030\0', 'latin1');
  const batch = Buffer.concat([head, entry, Buffer.alloc(1)]);
  batch.writeInt32LE(batch.length, 0);
  return batch;
}
