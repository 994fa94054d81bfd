/**
 * A change as a CloudEvent 1.0: `data` is the change event in relaxed JSON, the attributes say where it comes from. Structured:
 * one JSON object holds both (JSON event format, `application/cloudevents+json`). Binary: the body is the data, and every attribute
 * but `datacontenttype`, which is the message's content type, is a header. The AMQP binding is written for AMQP 1.0, whose
 * application properties RabbitMQ makes of a 0-9-1 message's headers and back. It names them with the prefix `cloudEvents:`;
 * later editions allow `cloudEvents_` as well, for receivers whose selectors cannot do with a colon. It knows no batches.
 */
import { malformed } from './bson.ts';
import { documentField, field, jsonText, textField, timeOf } from './event-fields.ts';
import { pathText } from './template.ts';

export interface CloudEventAttributes {
  readonly specversion: '1.0';
  readonly id: string;
  readonly source: string;
  readonly type: string;
  /** The document: its `_id` as text. Left out for what is about no document. */
  readonly subject?: string;
  readonly time: string;
}

const DATA_CONTENT_TYPE = 'application/json';

export function cloudEventAttributes(event: Uint8Array, source: string, type: string): CloudEventAttributes {
  const subject = subjectOf(event);
  return {
    specversion: '1.0',
    id: textField(event, 0, '_id'),
    source,
    type,
    ...(subject !== undefined && { subject }),
    time: timeText(timeOf(event).wallMs),
  };
}

/** Only damage makes a time that no date can be. */
function timeText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? malformed('a time that no date can be') : date.toISOString();
}

/** `data` is JSON. */
export function structuredCloudEvent(attributes: CloudEventAttributes, data: string): string {
  return `${JSON.stringify({ ...attributes, datacontenttype: DATA_CONTENT_TYPE }).slice(0, -1)},"data":${data}}`;
}

/** An ObjectId, a string or a number as people write it; whatever else as JSON. */
function subjectOf(event: Uint8Array): string | undefined {
  const key = documentField(event, 0, 'documentKey');
  const id = key < 0 ? undefined : field(event, key, '_id');
  if (id === undefined) return undefined;
  const text = pathText(event, key, event.length, ID_PATH) ?? jsonText(event, id, true);
  // The attribute may be left out, but not be empty.
  return text === '' ? undefined : text;
}

const ID_PATH = [new Uint8Array(Buffer.from('_id'))];
