/**
 * What a parked event holds, for a person. Invariant: nothing is shown that its subscription hides (`fields`, `mask`): an entry of
 * the oplog is shown whole or not at all, and an event from which fields were taken out only where as much is hidden today. Of
 * a finished message what is shown is what would be delivered.
 */
import { deserialize, EJSON } from 'bson';
import type { z } from 'zod';
import type { FoundParked } from '../checkpoint/parking.ts';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import { shapeHash } from '../config/routing-hash.ts';
import { hidesFields } from '../worker/craft.ts';
import type { parkedDetail } from './schemas.ts';

/** More takes too long to decode beside deliveries. */
export const MOST_SHOWN_BYTES = 256 * 1024;
const MOST_RAW_BYTES = 4_096;

type Content = z.input<typeof parkedDetail>['content'];
type Looked = FoundParked & { readonly payload: Uint8Array | undefined };

export function contentOf({ summary, bytes, payload }: Looked, { subscriptions }: Config): Content {
  const { payloadKind, subscription: name, origin } = summary;
  if (payload === undefined) {
    return withheld(bytes > MOST_SHOWN_BYTES ? `it is larger than ${MOST_SHOWN_BYTES} bytes` : 'its bytes are gone');
  }
  if (payload.length === 0)
    return withheld('its bytes were not kept, since what is to be hidden could not be taken out');
  const subscription = subscriptions.find((one) => one.name === name);
  if (subscription === undefined)
    return withheld('its subscription is not configured, so what that hides is not known');
  switch (payloadKind) {
    case 'entry':
      return entryContent(payload, subscription, subscriptions);
    case 'event':
      if (origin?.shape !== shapeHash(subscription)) return withheld('its subscription hides other fields today');
      return decoded(payload, () => [toJson(payload)]);
    case 'message':
      if (summary.contentEncoding !== undefined) return raw(payload);
      return decoded(payload, () => messageDocuments(payload, summary.contentType ?? ''));
  }
}

function entryContent(
  payload: Uint8Array,
  subscription: SubscriptionConfig,
  all: readonly SubscriptionConfig[],
): Content {
  if (hidesFields(subscription))
    return withheld('its subscription hides fields, and an entry of the oplog is shown whole');
  const content = decoded(payload, () => [toJson(payload)]);
  // A transaction's entry holds other collections' changes too, and what cannot be read may hold anything.
  const [entry] = content.kind === 'documents' ? content.documents : [];
  const isPlain = typeof entry === 'object' && entry !== null && 'op' in entry && entry.op !== 'c';
  if (isPlain || !all.some(hidesFields)) return content;
  return withheld('it may hold what another subscription hides');
}

function messageDocuments(payload: Uint8Array, contentType: string): unknown[] {
  if (contentType.startsWith('application/bson')) return bsonDocuments(payload);
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString();
  const lines = contentType.startsWith('application/x-ndjson') ? text.trimEnd().split('\n') : [text];
  return lines.map((line): unknown => JSON.parse(line));
}

function bsonDocuments(payload: Uint8Array): unknown[] {
  const documents: unknown[] = [];
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  for (let at = 0; at < view.length;) {
    const size = view.readInt32LE(at);
    documents.push(toJson(view.subarray(at, at + size)));
    at += size;
  }
  return documents;
}

function toJson(bson: Uint8Array): unknown {
  return EJSON.serialize(deserialize(bson, { promoteValues: false, bsonRegExp: true }), { relaxed: true });
}

function decoded(payload: Uint8Array, decode: () => unknown[]): Content {
  try {
    return { kind: 'documents', documents: decode() };
  } catch {
    // Many are parked for being no BSON.
    return raw(payload);
  }
}

function raw(payload: Uint8Array): Content {
  const shown = payload.subarray(0, MOST_RAW_BYTES);
  return { kind: 'bytes', base64: Buffer.from(shown).toString('base64'), truncated: shown.length < payload.length };
}

function withheld(why: string): Content {
  return { kind: 'withheld', why };
}
