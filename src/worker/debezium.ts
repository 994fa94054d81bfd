/**
 * A change in the envelope of Debezium's MongoDB connector (its `payload`, as the JSON converter writes it without schemas), so
 * that a consumer can be moved over. What its documentation and its sources say of the envelope, and this keeps to:
 *
 * - `op`: c for an insert, u for an update and for a replace, d for a delete, r for what a snapshot read (`source.snapshot` is then `"true"`);
 * - `before` and `after`: the document as a string of JSON in the old strict mode (`legacy-json.ts`), or null; `after` is there for
 *   inserts and replaces, and where an update's full document was looked up; `before` only where there is a pre-image, so
 *   a delete usually has neither, and says by its key what was deleted;
 * - `updateDescription`: for updates only; `removedFields` and `truncatedArrays` are null instead of empty, `updatedFields` is a
 *   string of relaxed Extended JSON;
 * - the key beside the envelope: `{"id": TEXT}`, where TEXT is the `_id` as relaxed Extended JSON (a string keeps its quotes);
 * - `source.ord` is the increment of the cluster time, `source.ts_ms` its seconds; `lsid` is a string of JSON, `txnNumber` a number.
 *
 * What differs on purpose is told in docs/formats-and-shaping.md.
 */
import { BsonType } from './bson.ts';
import { documentField, field, jsonText, textField, timeOf } from './event-fields.ts';
import { legacyDocument } from './legacy-json.ts';
import { VERSION } from '../version.ts';

const OPS: Readonly<Record<string, string>> = { insert: 'c', update: 'u', replace: 'u', delete: 'd', snapshot: 'r' };

/** Undefined for what the envelope has no form for: anything that is no change of a document. */
export function debeziumEnvelope(event: Uint8Array, source: string): string | undefined {
  const op = OPS[textField(event, 0, 'operationType')];
  if (op === undefined) return undefined;
  const snapshot = op === 'r' ? 'true' : 'false';
  const ns = documentField(event, 0, 'ns');
  const { seconds, increment, wallMs, hasWall } = timeOf(event);
  const lsid = documentField(event, 0, 'lsid');
  const txnNumber = field(event, 0, 'txnNumber');
  const parts = [
    `"before":${documentText(event, 'fullDocumentBeforeChange')}`,
    `"after":${documentText(event, 'fullDocument')}`,
    `"updateDescription":${updateText(event)}`,
    `"source":{"version":${JSON.stringify(VERSION)},"connector":"mongodb","name":${JSON.stringify(source)}` +
      `,${times(seconds * 1_000)},"snapshot":"${snapshot}","db":${JSON.stringify(textField(event, ns, 'db'))},"sequence":null` +
      `,"collection":${JSON.stringify(textField(event, ns, 'coll'))},"ord":${increment}` +
      `,"lsid":${lsid < 0 ? 'null' : JSON.stringify(legacyDocument(event, lsid, event.length))}` +
      `,"txnNumber":${txnNumber === undefined ? 'null' : jsonText(event, txnNumber, true)}` +
      `,"wallTime":${hasWall ? wallMs : 'null'}}`,
    `"op":"${op}"`,
    times(wallMs),
    `"transaction":null`,
  ];
  return `{${parts.join(',')}}`;
}

/** The key that belongs to the envelope; undefined where the subscription may not see the `_id`. */
export function debeziumKey(event: Uint8Array): string | undefined {
  const key = documentField(event, 0, 'documentKey');
  const id = key < 0 ? undefined : field(event, key, '_id');
  return id === undefined ? undefined : JSON.stringify({ id: jsonText(event, id, true) });
}

/** As text: nanoseconds since 1970 are more than a number in JavaScript can hold. */
function times(ms: number): string {
  const zeros = (count: number): string => (ms === 0 ? '' : '0'.repeat(count));
  return `"ts_ms":${ms},"ts_us":${ms}${zeros(3)},"ts_ns":${ms}${zeros(6)}`;
}

function documentText(event: Uint8Array, name: string): string {
  const at = documentField(event, 0, name);
  return at < 0 ? 'null' : JSON.stringify(legacyDocument(event, at, event.length));
}

function updateText(event: Uint8Array): string {
  const update = documentField(event, 0, 'updateDescription');
  if (update < 0) return 'null';
  const updated = field(event, update, 'updatedFields');
  return (
    `{"removedFields":${listText(event, update, 'removedFields')}` +
    `,"updatedFields":${updated === undefined ? 'null' : JSON.stringify(jsonText(event, updated, true))}` +
    `,"truncatedArrays":${listText(event, update, 'truncatedArrays')}}`
  );
}

function listText(event: Uint8Array, update: number, name: string): string {
  const list = field(event, update, name);
  if (list?.type !== BsonType.array) return 'null';
  const text = jsonText(event, list, true);
  return text === '[]' ? 'null' : text;
}
