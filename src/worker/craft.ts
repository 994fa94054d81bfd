/**
 * The way of a subscription that asks for more than an event as it is: a filter on content, some fields only, masked ones, another
 * envelope, headers. It is slower than the plain way, which writes an event without ever making one: here the event is first made
 * as BSON, then judged, shaped, and only then looked at by templates and written.
 * Invariant: nothing that leaves here (key, headers, body, what is parked) is made of anything but the shaped event.
 */
import { MAX_HEADER_BYTES, MAX_SHORT_STRING } from '../config/limits.ts';
import { cloudEventAttributes, structuredCloudEvent } from './cloud-event.ts';
import { copyBytes, noBytes } from './bson.ts';
import { copy, putBsonEvent } from './bson-writer.ts';
import { debeziumEnvelope, debeziumKey } from './debezium.ts';
import { putBsonEventDocument } from './event-document.ts';
import { documentField, jsonText, textField } from './event-fields.ts';
import type { EventView } from './event.ts';
import { putJsonDocument } from './json-writer.ts';
import { Output, SLACK } from './output.ts';
import type { CraftPlan, MessageHeaders, ParkReason, SubscriptionPlan } from './protocol.ts';
import { Shaper } from './shape.ts';
import { compileTemplate, renderTemplate } from './template.ts';
import type { Template, TemplateEvent } from './template.ts';
import { judge } from './where.ts';

export type Crafted =
  | { readonly kind: 'filtered' }
  | { readonly kind: 'parked'; readonly reason: ParkReason; readonly detail: string }
  | {
      readonly kind: 'written';
      readonly key: string;
      readonly headers: MessageHeaders | undefined;
      readonly end: number;
    };

/** Where an event belongs, as templates know it. */
export interface EventPlace {
  readonly db: string;
  readonly coll: string;
  readonly partition: number;
}

export interface WritePlace {
  readonly out: Output;
  readonly pos: number;
  readonly limit: number;
}

/** An update's dotted paths can make an event far larger than its entry: beyond this it is not even made. */
const MAX_EVENT_BYTES = 256 * 1024 * 1024;
const KEEP_BYTES = 16 * 1024 * 1024;

/** Whether a subscription is not served by the plain way. */
export function isCrafted({ format, craft }: SubscriptionPlan): boolean {
  return craft !== undefined || format === 'debezium' || format === 'cloudevents';
}

/** What its events may not show must not be set aside either. */
export function hidesFields(craft: Pick<CraftPlan, 'fields' | 'mask'> | undefined): boolean {
  return craft?.fields !== undefined || craft?.mask !== undefined;
}

let raw = new Output(64 * 1024);

export class Crafter {
  /** Has it something to hide? Then nothing but the shaped event may be set aside. */
  readonly shapes: boolean;
  readonly #plan: SubscriptionPlan;
  readonly #source: string;
  readonly #shaper: Shaper | undefined;
  readonly #routingKey: Template;
  readonly #headers: readonly { readonly name: string; readonly template: Template }[];
  readonly #cloudSource: Template | undefined;
  readonly #cloudType: Template | undefined;
  #shaped: Uint8Array = new Uint8Array(0);

  constructor(plan: SubscriptionPlan, source: string) {
    const template = (text: string): Template => compileTemplate(text, { source, subscription: plan.name });
    const { fields, mask, headers = {}, cloudEvents } = plan.craft ?? {};
    this.#plan = plan;
    this.#source = source;
    this.shapes = hidesFields(plan.craft);
    this.#shaper = this.shapes ? new Shaper({ fields, mask }) : undefined;
    this.#routingKey = template(plan.routingKey);
    this.#headers = Object.entries(headers).map(([name, text]) => ({ name, template: template(text) }));
    this.#cloudSource = cloudEvents && template(cloudEvents.source);
    this.#cloudType = cloudEvents && template(cloudEvents.type);
  }

  /** Writes the message's body at `pos`. Throws `MalformedBson` for what cannot be made an event. */
  craft(view: EventView, partition: number, { out, pos, limit }: WritePlace): Crafted {
    this.#shaped = noBytes;
    if (raw.bytes.length > KEEP_BYTES) raw = new Output(64 * 1024);
    const length = putRaw(view);
    if (length > MAX_EVENT_BYTES) return tooLarge(length, MAX_EVENT_BYTES);
    return this.#craft(raw.bytes.subarray(0, length), { ...view.route, partition }, { out, pos, limit });
  }

  /** The same for an event that was made already; it must have been checked for being well-formed. */
  craftEvent(event: Uint8Array, place: EventPlace, to: WritePlace): Crafted {
    this.#shaped = noBytes;
    return this.#craft(event, place, to);
  }

  #craft(event: Uint8Array, place: EventPlace, to: WritePlace): Crafted {
    const where = this.#plan.craft?.where;
    if (where !== undefined && !isMark(event) && !(judge(where.condition, event) ?? where.whenUnknown === 'deliver')) {
      return { kind: 'filtered' };
    }
    const shaped = this.#shaper === undefined ? event : this.#shaper.shape(event);
    this.#shaped = shaped;
    return this.#finish(shaped, place, to);
  }

  /** The same for an event that was shaped before; `reshape`: as other fields were hidden then, once more. */
  craftAgain(event: Uint8Array, place: EventPlace & { readonly reshape: boolean }, to: WritePlace): Crafted {
    const shaped = place.reshape && this.#shaper !== undefined ? this.#shaper.shape(event) : event;
    return this.#finish(shaped, place, to);
  }

  #finish(shaped: Uint8Array, { db, coll, partition }: EventPlace, { out, pos, limit }: WritePlace): Crafted {
    const known: TemplateEvent = {
      db,
      coll,
      operationType: textField(shaped, 0, 'operationType'),
      partition,
      bytes: shaped,
      limit: shaped.length,
      fullDocument: documentField(shaped, 0, 'fullDocument'),
      documentKey: documentField(shaped, 0, 'documentKey'),
    };
    const key = renderTemplate(this.#routingKey, known);
    if ('missing' in key) return missing(key.missing, 'the routing key');
    if (Buffer.byteLength(key.key) > MAX_SHORT_STRING) {
      const detail = `a routing key of ${Buffer.byteLength(key.key)} bytes, more than AMQP's ${MAX_SHORT_STRING}`;
      return { kind: 'parked', reason: 'routing-key-too-long', detail };
    }
    const headers: Record<string, string> = {};
    for (const { name, template } of this.#headers) {
      const value = renderTemplate(template, known);
      if ('missing' in value) return missing(value.missing, `the header ${name}`);
      headers[name] = value.key;
    }
    const body = this.#body(shaped, known, headers);
    if (typeof body === 'object' && 'kind' in body) return body;
    const used = headerBytes(headers);
    if (used > MAX_HEADER_BYTES) {
      const detail = `headers of ${used} bytes, more than the ${MAX_HEADER_BYTES} that every broker takes`;
      return { kind: 'parked', reason: 'headers-too-long', detail };
    }
    const end = body === undefined ? this.#putEvent(shaped, out, pos, limit) : putText(body, out, pos, limit);
    return { kind: 'written', key: key.key, headers: used === 0 ? undefined : headers, end };
  }

  /**
   * What may be set aside of the event that was crafted last, where its entry may not: the event as it may be seen, or no bytes
   * where it came to none. Undefined where nothing is hidden.
   */
  get parkable(): Uint8Array | undefined {
    return this.shapes ? copyBytes(this.#shaped, 0, this.#shaped.length) : undefined;
  }

  /** The body of an envelope, its headers added to `headers`; undefined where the body is the event itself. */
  #body(event: Uint8Array, known: TemplateEvent, headers: Record<string, string>): string | undefined | Crafted {
    switch (this.#plan.format) {
      case 'debezium': {
        const envelope = debeziumEnvelope(event, this.#source);
        if (envelope === undefined) {
          const detail = `format debezium has no form for operationType "${known.operationType}"`;
          return { kind: 'parked', reason: 'no-form', detail };
        }
        const key = debeziumKey(event);
        if (key !== undefined) headers['key'] = key;
        return envelope;
      }
      case 'cloudevents':
        return this.#cloudEvent(event, known, headers);
      case 'json':
      case 'json-canonical':
      case 'bson':
        return undefined;
    }
  }

  #cloudEvent(event: Uint8Array, known: TemplateEvent, headers: Record<string, string>): string | undefined | Crafted {
    const { cloudEvents } = this.#plan.craft ?? {};
    if (cloudEvents === undefined) throw new Error('a plan of CloudEvents without their settings');
    // `source` is a URI reference: what stands in a collection's name must not become part of its syntax.
    const escaped = { ...known, db: encodeURIComponent(known.db), coll: encodeURIComponent(known.coll) };
    const source = renderTemplate(this.#cloudSource!, escaped);
    if ('missing' in source) return missing(source.missing, 'cloudevents.source');
    const type = renderTemplate(this.#cloudType!, known);
    if ('missing' in type) return missing(type.missing, 'cloudevents.type');
    const attributes = cloudEventAttributes(event, source.key, type.key);
    if (cloudEvents.mode === 'structured') {
      return structuredCloudEvent(attributes, jsonText(event, { type: 3, at: 0, last: event.length }, true));
    }
    for (const [name, value] of Object.entries(attributes)) headers[`${cloudEvents.headerPrefix}${name}`] = value;
    return undefined;
  }

  #putEvent(event: Uint8Array, out: Output, pos: number, limit: number): number {
    const { format } = this.#plan;
    if (format === 'bson') return putBytes(event, out, pos, limit);
    const relaxed = format !== 'json-canonical';
    const end = putJsonDocument(out, pos, event, 0, event.length, relaxed);
    if (end <= out.bytes.length - SLACK || end - pos > limit) return end;
    out.grow(end, pos);
    return putJsonDocument(out, pos, event, 0, event.length, relaxed);
  }
}

/** What tells something of the stream, not of a document, passes every filter: it was asked for by a setting of its own. */
const MARKS: ReadonlySet<string> = new Set(['transactionBegin', 'transactionEnd', 'resync']);

function isMark(event: Uint8Array): boolean {
  return MARKS.has(textField(event, 0, 'operationType'));
}

function putRaw(view: EventView): number {
  const end = view.document >= 0 ? putBsonEventDocument(raw, 0, view) : putBsonEvent(raw, 0, view);
  if (end <= raw.bytes.length - SLACK || end > MAX_EVENT_BYTES) return end;
  raw.grow(end, 0);
  return view.document >= 0 ? putBsonEventDocument(raw, 0, view) : putBsonEvent(raw, 0, view);
}

function putText(text: string, out: Output, pos: number, limit: number): number {
  return putBytes(Buffer.from(text), out, pos, limit);
}

/** What is over the limit is only measured. */
function putBytes(bytes: Uint8Array, out: Output, pos: number, limit: number): number {
  const end = pos + bytes.length;
  if (bytes.length > limit) return end;
  if (end > out.bytes.length - SLACK) out.grow(end, pos);
  return copy(out, pos, bytes, 0, bytes.length);
}

function headerBytes(headers: MessageHeaders): number {
  let bytes = 0;
  for (const name in headers) bytes += Buffer.byteLength(name) + Buffer.byteLength(headers[name]!) + 6;
  return bytes;
}

function missing(name: string, what: string): Crafted {
  return { kind: 'parked', reason: 'missing-field', detail: `{${name}} of ${what} is missing, or has no text` };
}

function tooLarge(bytes: number, limit: number): Crafted {
  return { kind: 'parked', reason: 'too-large', detail: `${bytes} bytes, more than the limit of ${limit}` };
}
