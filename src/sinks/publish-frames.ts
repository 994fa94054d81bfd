/**
 * `basic.publish` as AMQP 0-9-1 has it on the wire: a method frame, a header frame, and as many body frames as the broker's
 * `frame_max` asks for. What does not change from message to message is encoded once. Persistent, mandatory; headers only where a message has some.
 */
import type { LaneMessage } from '../lanes/port.ts';
import type { MessageHeaders } from '../worker/protocol.ts';
import { MAX_SHORT_STRING } from '../config/limits.ts';
import { SMALL_BYTES } from './outbox.ts';
import type { Outbox } from './outbox.ts';

const METHOD = 1;
const HEADER = 2;
const BODY = 3;
const FRAME_END = 0xce;
/** Type, channel and size in front; the end mark behind. */
const FRAME_HEAD_BYTES = 7;
const FRAME_BYTES = FRAME_HEAD_BYTES + 1;
const TIMESTAMP_BYTES = 8;
const CLASS_BASIC = 60;
const METHOD_PUBLISH = 40;
const MANDATORY = 1;
const PERSISTENT = 2;
/** Flags of content-type, delivery-mode, message-id, timestamp, type and app-id, in the order the properties come in. */
const PROPERTIES = 0x8000 | 0x1000 | 0x0080 | 0x0040 | 0x0020 | 0x0008;
const CONTENT_ENCODING = 0x4000;
const HEADERS = 0x2000;
/** Routing keys may hold document keys: then there is no end of them. */
const MOST_ROUTES = 1_000;

export interface PublishFramesOptions {
  readonly outbox: Outbox;
  readonly channel: number;
  readonly exchange: string;
  readonly contentType: string;
  readonly contentEncoding?: string | undefined;
  readonly appId: string;
}

export class PublishFrames {
  readonly #outbox: Outbox;
  readonly #channel: number;
  readonly #exchange: string;
  /** The method frame and the beginning of the header frame, by routing key. */
  readonly #heads = new Map<string, Buffer>();
  /** The content type, and the encoding where there is one. */
  readonly #content: Buffer;
  readonly #properties: number;
  /** By the object: the messages of a batch share theirs. */
  readonly #tables = new WeakMap<MessageHeaders, Buffer>();
  /** `type` and `app-id` and the header frame's end, by type. */
  readonly #tails = new Map<string, Buffer>();
  readonly #appId: Buffer;
  /** Bytes of a header frame that are the same for all messages, at its beginning. */
  readonly #headerBegin: number;
  readonly #maxBody: number;

  constructor({ outbox, channel, exchange, contentType, contentEncoding, appId }: PublishFramesOptions) {
    this.#outbox = outbox;
    this.#channel = channel;
    this.#exchange = exchange;
    const encoding = contentEncoding === undefined ? [] : [shortString(contentEncoding)];
    this.#content = Buffer.concat([shortString(contentType), ...encoding]);
    this.#properties = PROPERTIES | (contentEncoding === undefined ? 0 : CONTENT_ENCODING);
    this.#appId = shortString(appId);
    this.#headerBegin = FRAME_HEAD_BYTES + 14 + this.#content.length + 1;
    this.#maxBody = outbox.frameMax - FRAME_BYTES;
  }

  write({ routingKey, type, messageId, wallSeconds, body, headers }: LaneMessage): void {
    const table = headers && this.#table(headers);
    const head = table ? this.#headWith(routingKey, table) : this.#head(routingKey);
    const tail = this.#tail(type);
    const idBytes = Buffer.byteLength(messageId);
    const bytes = head.length + 1 + idBytes + TIMESTAMP_BYTES + tail.length;
    const small = body.length <= Math.min(SMALL_BYTES, this.#maxBody);
    const start = this.#outbox.reserve(small ? bytes + FRAME_BYTES + body.length : bytes);
    const { slab } = this.#outbox;
    head.copy(slab, start);
    const header = start + head.length - this.#headerBegin - (table?.length ?? 0);
    slab.writeUInt32BE(start + bytes - header - FRAME_BYTES, header + 3);
    // The body's size has 64 bits; no message of ours needs the upper ones, nor do the seconds.
    slab.writeUInt32BE(body.length, header + FRAME_HEAD_BYTES + 8);
    let at = start + head.length;
    slab[at] = idBytes;
    slab.write(messageId, at + 1);
    at += 1 + idBytes;
    slab.writeUInt32BE(0, at);
    slab.writeUInt32BE(wallSeconds, at + 4);
    tail.copy(slab, at + TIMESTAMP_BYTES);
    if (!small) {
      this.#largeBody(body);
      return;
    }
    at = start + bytes;
    this.#frameHead(slab, at, body.length);
    body.copy(slab, at + FRAME_HEAD_BYTES);
    slab[at + FRAME_HEAD_BYTES + body.length] = FRAME_END;
  }

  #largeBody(body: Buffer): void {
    for (let from = 0; from < body.length; from += this.#maxBody) {
      const part = body.subarray(from, from + this.#maxBody);
      const at = this.#outbox.reserve(FRAME_HEAD_BYTES);
      this.#frameHead(this.#outbox.slab, at, part.length);
      this.#outbox.send(part);
      const end = this.#outbox.reserve(1);
      this.#outbox.slab[end] = FRAME_END;
    }
    // A heartbeat that amqplib sends in this turn must not land before the last frame's end.
    this.#outbox.pass();
  }

  #frameHead(slab: Buffer, at: number, bytes: number): void {
    slab[at] = BODY;
    slab.writeUInt16BE(this.#channel, at + 1);
    slab.writeUInt32BE(bytes, at + 3);
  }

  #head(routingKey: string): Buffer {
    const known = this.#heads.get(routingKey);
    if (known) return known;
    if (this.#heads.size >= MOST_ROUTES) this.#heads.clear();
    const payload = Buffer.concat([
      Buffer.from([0, CLASS_BASIC, 0, METHOD_PUBLISH, 0, 0]),
      shortString(this.#exchange),
      shortString(routingKey),
      Buffer.from([MANDATORY]),
    ]);
    const header = Buffer.alloc(this.#headerBegin);
    header[0] = HEADER;
    header.writeUInt16BE(this.#channel, 1);
    header.writeUInt16BE(CLASS_BASIC, FRAME_HEAD_BYTES);
    header.writeUInt16BE(this.#properties, FRAME_HEAD_BYTES + 12);
    this.#content.copy(header, FRAME_HEAD_BYTES + 14);
    header[header.length - 1] = PERSISTENT;
    const method = Buffer.alloc(FRAME_HEAD_BYTES);
    method[0] = METHOD;
    method.writeUInt16BE(this.#channel, 1);
    method.writeUInt32BE(payload.length, 3);
    const head = Buffer.concat([method, payload, Buffer.from([FRAME_END]), header]);
    this.#heads.set(routingKey, head);
    return head;
  }

  /** The head that goes with these headers: they stand in front of its last byte, the delivery mode. */
  #headWith(routingKey: string, table: Buffer): Buffer {
    const plain = this.#head(routingKey);
    const head = Buffer.concat([plain.subarray(0, -1), table, plain.subarray(-1)]);
    head.writeUInt16BE(this.#properties | HEADERS, plain.length - this.#headerBegin + FRAME_HEAD_BYTES + 12);
    return head;
  }

  /** The headers as AMQP's field table; all are long strings. */
  #table(headers: MessageHeaders): Buffer {
    let table = this.#tables.get(headers);
    if (!table) {
      const fields = Object.entries(headers).map(([name, value]) => {
        const length = Buffer.alloc(5, 'S');
        length.writeUInt32BE(Buffer.byteLength(value), 1);
        return Buffer.concat([shortString(name), length, Buffer.from(value)]);
      });
      const size = Buffer.alloc(4);
      size.writeUInt32BE(fields.reduce((bytes, field) => bytes + field.length, 0));
      table = Buffer.concat([size, ...fields]);
      this.#tables.set(headers, table);
    }
    return table;
  }

  #tail(type: string): Buffer {
    let tail = this.#tails.get(type);
    if (!tail) {
      tail = Buffer.concat([shortString(type), this.#appId, Buffer.from([FRAME_END])]);
      this.#tails.set(type, tail);
    }
    return tail;
  }
}

function shortString(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > MAX_SHORT_STRING) {
    throw new RangeError(`"${text.slice(0, 40)}…" is longer than AMQP's ${MAX_SHORT_STRING} bytes`);
  }
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}
