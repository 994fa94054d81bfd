/** Takes documents out of an encoded piece of a snapshot again, without encoding it anew. Pure. */
import { DOCUMENT_FIELDS, DocumentField, Field, RECORD_FIELDS } from '../worker/protocol.ts';
import type { BatchResult } from '../worker/protocol.ts';

export interface Cut {
  readonly result: BatchResult;
  /** Numbers of the documents that are not in it any more. */
  readonly out: readonly number[];
}

/** Of all documents of a piece. */
export function hashesOf(results: readonly BatchResult[]): ReadonlySet<number> {
  const hashes = new Set<number>();
  for (const { documents = new Uint32Array() } of results) {
    for (let at = 0; at < documents.length; at += DOCUMENT_FIELDS) hashes.add(documents[at + DocumentField.hash]!);
  }
  return hashes;
}

/**
 * Without those that were touched. What lies in one message with one of them stays, cut at it, unless the message is compressed: then
 * the whole of it goes. `idOf`: of an event, by its document's number.
 */
export function cutOut(
  result: BatchResult,
  touched: ReadonlySet<number> | 'all',
  { isDivisible, idOf }: { readonly isDivisible: boolean; readonly idOf: (number: number) => string },
): Cut {
  const { documents = new Uint32Array() } = result;
  const count = documents.length / DOCUMENT_FIELDS;
  if (touched !== 'all' && touched.size === 0) return { result, out: [] };
  const field = (number: number, which: number): number => documents[number * DOCUMENT_FIELDS + which]!;
  const out: number[] = [];
  const hurt = new Set<number>();
  for (let n = 0; n < count; n++) {
    if (touched !== 'all' && !touched.has(field(n, DocumentField.hash))) continue;
    out.push(n);
    if (field(n, DocumentField.record) > 0) hurt.add(field(n, DocumentField.record) - 1);
  }
  if (out.length === 0) return { result, out };
  const gone = new Set(out);
  /** By record: its documents, in the order in which their events lie there. */
  const inside = new Map<number, number[]>();
  for (let n = 0; n < count; n++) {
    const record = field(n, DocumentField.record) - 1;
    if (!hurt.has(record)) continue;
    const list = inside.get(record);
    if (list) list.push(n);
    else inside.set(record, [n]);
  }
  const rows: number[] = [];
  const ids: string[] = [];
  const events = new Uint32Array(result.events);
  const row = (record: number): Uint32Array =>
    result.records.subarray(record * RECORD_FIELDS, (record + 1) * RECORD_FIELDS);
  for (let record = 0; record < result.records.length / RECORD_FIELDS; record++) {
    const its = inside.get(record);
    if (!its) {
      rows.push(...row(record));
      ids.push(result.ids![record * 2]!, result.ids![record * 2 + 1]!);
      continue;
    }
    its.sort((a, b) => field(a, DocumentField.start) - field(b, DocumentField.start));
    if (!isDivisible) {
      for (const n of its) if (!gone.has(n)) out.push(n);
      continue;
    }
    for (let from = 0; from < its.length;) {
      if (gone.has(its[from]!)) {
        from++;
        continue;
      }
      let to = from;
      while (to + 1 < its.length && !gone.has(its[to + 1]!)) to++;
      const part = Uint32Array.from(row(record));
      const first = its[from]!;
      const last = its[to]!;
      part[Field.offset] = field(first, DocumentField.start);
      part[Field.length] = field(last, DocumentField.start) + field(last, DocumentField.length) - part[Field.offset]!;
      part[Field.events] = to - from + 1;
      rows.push(...part);
      ids.push(idOf(first), idOf(last));
      from = to + 1;
    }
  }
  const parked = result.parked.filter(({ document }) => document === undefined || !gone.has(document));
  return { result: { ...result, records: Uint32Array.from(rows), ids, events, parked }, out };
}
