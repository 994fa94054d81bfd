/**
 * The `_id` of a snapshot's event: `source:snapshot.<run>.<ns>.<_id>`, the document's `_id` as canonical Extended JSON, or its
 * digest where that is long. The same document in the same run has the same one, however often it is sent.
 */
import { createHash } from 'node:crypto';
import { decodeText, nameEnd } from './bson.ts';
import { putJsonValue } from './json-writer.ts';
import { Output, SLACK } from './output.ts';

/** A longer text is a digest instead. */
const MOST_BYTES = 100;

export interface SnapshotName {
  readonly source: string;
  readonly run: string;
  readonly ns: string;
}

/** What all of a run's events of a collection begin with. */
export function snapshotIdPrefix({ source, run, ns }: SnapshotName): string {
  return `${source}:snapshot.${run}.${ns}.`;
}

const scratch = new Output(4096);

/** Where the text of the last call to `putIdText` lies. */
export const idText = scratch;

/** The last part, for the `_id` element at `element` of a document whose closing zero is `last`; how many bytes `idText` has of it. */
export function putIdText(bytes: Uint8Array, element: number, last: number): number {
  const value = nameEnd(bytes, element + 1);
  let end = putJsonValue(scratch, 0, bytes, bytes[element]!, value, last, false, 0);
  if (end <= MOST_BYTES) return end;
  if (end > scratch.bytes.length - SLACK) {
    scratch.grow(end, 0);
    end = putJsonValue(scratch, 0, bytes, bytes[element]!, value, last, false, 0);
  }
  const digest = createHash('sha256').update(scratch.bytes.subarray(0, end)).digest('hex');
  return Buffer.from(scratch.bytes.buffer).write(digest, 0, 'latin1');
}

/** The whole of it. */
export function snapshotId(prefix: string, bytes: Uint8Array, element: number, last: number): string {
  return prefix + decodeText(scratch.bytes, 0, putIdText(bytes, element, last));
}
