/**
 * Takes out of an event what its subscription may not or does not want to see (`fields`, `mask`): BSON in, BSON out, values that
 * no path meets are copied as they are. Paths are met as `path-rules.ts` says, wherever an event holds something of a
 * document: whole documents, keys, the texts and values of updates. A field of an event that is not known is left out.
 * The event must have been checked for being well-formed.
 */
import type { FieldsConfig, MaskConfig } from '../config/config.ts';
import { BsonType, documentLast, encodeText, findElement, latin1Text, nameEnd, stringEnd, valueEnd } from './bson.ts';
import { BsonOut } from './bson-out.ts';
import { compileMask } from './mask.ts';
import type { Mask } from './mask.ts';
import { mayMeet, meet, pathTree } from './path-rules.ts';
import type { Match, PathNode, Places } from './path-rules.ts';

/** Of an event, what is about the event and not out of a document. */
const PLAIN_FIELDS: ReadonlySet<string> = new Set([
  '_id',
  'operationType',
  'clusterTime',
  'collectionUUID',
  'wallTime',
  'ns',
  'nsType',
  'to',
  'lsid',
  'txnNumber',
  'reason',
  'cause',
  // Of transactionEnd: counts.
  'operations',
  'namespaces',
]);
const DOCUMENT_FIELDS: ReadonlySet<string> = new Set(['fullDocument', 'fullDocumentBeforeChange', 'documentKey']);
/** Parts of commands in which users write values: conditions, pipelines, the bounds of zones. */
const VALUE_OPTIONS: ReadonlySet<string> = new Set(['validator', 'partialFilterExpression', 'pipeline', 'zones']);

const EXCLUDE = 0;

export interface ShapePlan {
  readonly fields?: FieldsConfig | undefined;
  readonly mask?: readonly MaskConfig[] | undefined;
}

export class Shaper {
  readonly #passes: Pass[] = [];

  constructor({ fields, mask = [] }: ShapePlan) {
    if (fields?.include !== undefined) {
      // As in a projection, `_id` stays unless it is excluded by name.
      const paths = [...fields.include, '_id'].map((path) => ({ path, action: 0 }));
      this.#passes.push(new Pass(pathTree(paths), undefined));
    }
    const hidden = [
      ...(fields?.exclude ?? []).map((path) => ({ path, action: EXCLUDE })),
      ...mask.flatMap((one, k) => one.fields.map((path) => ({ path, action: k + 1 }))),
    ];
    if (hidden.length > 0) this.#passes.push(new Pass(pathTree(hidden), mask.map(compileMask)));
  }

  /** The shaped event; valid until the next call. */
  shape(event: Uint8Array): Uint8Array {
    let shaped = event;
    for (const pass of this.#passes) shaped = pass.run(shaped);
    return shaped;
  }
}

/** Keeps only what its paths cover, or (where it has masks) takes away or masks what they cover. */
class Pass {
  readonly #top: Places;
  readonly #masks: readonly Mask[] | undefined;
  readonly #out = new BsonOut();

  constructor(root: PathNode, masks: readonly Mask[] | undefined) {
    this.#top = [root];
    this.#masks = masks;
  }

  run(bytes: Uint8Array): Uint8Array {
    const out = this.#out;
    out.pos = 0;
    const start = out.begin();
    const last = documentLast(bytes, 0, bytes.length);
    for (let at = 4, end = at; at < last; at = end) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, type, value, last);
      const name = latin1Text(bytes, at + 1, value - 1);
      if (PLAIN_FIELDS.has(name) || type === BsonType.null) out.copy(bytes, at, end);
      else if (type === BsonType.document && DOCUMENT_FIELDS.has(name)) {
        out.copy(bytes, at, value);
        this.#document(bytes, value, end, this.#top, true);
      } else if (type === BsonType.document && name === 'updateDescription') {
        out.copy(bytes, at, value);
        this.#update(bytes, value, end);
      } else if (type === BsonType.document && name === 'operationDescription') {
        out.copy(bytes, at, value);
        this.#command(bytes, value, end);
      }
    }
    out.end(start);
    return out.written;
  }

  #document(bytes: Uint8Array, start: number, limit: number, places: Places, top: boolean): void {
    const out = this.#out;
    const opened = out.begin();
    const last = documentLast(bytes, start, limit);
    /** Names cut short to a masked path: what lay below it is one value now. */
    let cut: Set<string> | undefined;
    /** What is kept is copied in one piece, from here up to what is not. */
    let kept = start + 4;
    for (let at = kept, end = at; at < last; at = end) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, type, value, last);
      if (value > at + 2 && !mayMeet(places, bytes[at + 1]!, top)) {
        if (this.#masks !== undefined) continue;
        out.copy(bytes, kept, at);
        kept = end;
        continue;
      }
      const name = latin1Text(bytes, at + 1, value - 1);
      const match = meet(places, name, top);
      if (match.kind === 'above' && (type === BsonType.document || type === BsonType.array)) {
        out.copy(bytes, kept, value);
        if (type === BsonType.document) this.#document(bytes, value, end, match.places, false);
        else this.#array(bytes, value, end, match.places);
      } else if ((match.kind === 'covered') === (this.#masks === undefined)) continue;
      else {
        out.copy(bytes, kept, at);
        const path = match.kind === 'covered' && match.action > EXCLUDE ? name.slice(0, match.end) : undefined;
        if (match.kind === 'covered' && path !== undefined && !cut?.has(path)) {
          (cut ??= new Set()).add(path);
          this.#masked(match, bytes, { type, name: at + 1, value, end });
        }
      }
      kept = end;
    }
    out.copy(bytes, kept, last);
    out.end(opened);
  }

  #array(bytes: Uint8Array, start: number, limit: number, places: Places): void {
    const out = this.#out;
    const opened = out.begin();
    const last = documentLast(bytes, start, limit);
    let count = 0;
    for (let at = start + 4, end = at, index = 0; at < last; at = end, index++) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, type, value, last);
      // Not the name that is written there, which decoders pass over.
      const match = meet(places, String(index), false);
      const nested = match.kind === 'above' && (type === BsonType.document || type === BsonType.array);
      const kept = this.#masks === undefined ? match.kind === 'covered' : match.kind !== 'covered';
      if (!nested && !kept && !(match.kind === 'covered' && match.action > EXCLUDE)) continue;
      const name = Buffer.from(String(count++));
      if (match.kind === 'covered' && match.action > EXCLUDE) {
        this.#masks![match.action - 1]!(out, name, type, bytes.subarray(value, end));
        continue;
      }
      out.element(type, name);
      if (match.kind !== 'above' || !nested) out.copy(bytes, value, end);
      else if (type === BsonType.document) this.#document(bytes, value, end, match.places, false);
      else this.#array(bytes, value, end, match.places);
    }
    out.end(opened);
  }

  #masked(
    match: Match & { kind: 'covered' },
    bytes: Uint8Array,
    { type, name, value, end }: { type: number; name: number; value: number; end: number },
  ): void {
    const path = bytes.subarray(name, name + match.end);
    this.#masks![match.action - 1]!(this.#out, path, type, bytes.subarray(value, end));
  }

  #update(bytes: Uint8Array, start: number, limit: number): void {
    const out = this.#out;
    const opened = out.begin();
    const last = documentLast(bytes, start, limit);
    for (let at = start + 4, end = at; at < last; at = end) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, type, value, last);
      switch (latin1Text(bytes, at + 1, value - 1)) {
        case 'updatedFields':
          out.copy(bytes, at, value);
          if (type === BsonType.document) this.#document(bytes, value, end, this.#top, true);
          break;
        case 'disambiguatedPaths':
          out.copy(bytes, at, value);
          this.#paths(bytes, value, end, (from, to) => this.#tellsPath(latin1Text(bytes, from, to)));
          break;
        case 'removedFields':
          out.copy(bytes, at, value);
          this.#paths(bytes, value, end, (_, to, itsType) =>
            itsType === BsonType.string ? this.#tellsPath(textAt(bytes, to + 1)) : false,
          );
          break;
        case 'truncatedArrays':
          out.copy(bytes, at, value);
          this.#paths(bytes, value, end, (_, to, itsType) =>
            itsType === BsonType.document ? this.#tellsTruncation(bytes, to + 1) : false,
          );
      }
    }
    out.end(opened);
  }

  /** Copies the elements that `keeps` says yes to; it is given where their names begin and end, and their types. */
  #paths(
    bytes: Uint8Array,
    start: number,
    limit: number,
    keeps: (from: number, to: number, type: number) => boolean,
  ): void {
    const out = this.#out;
    const opened = out.begin();
    const last = documentLast(bytes, start, limit);
    for (let at = start + 4, end = at; at < last; at = end) {
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, bytes[at]!, value, last);
      if (keeps(at + 1, value - 1, bytes[at]!)) out.copy(bytes, at, end);
    }
    out.end(opened);
  }

  /** A masked field's own path is no secret; a path below it is made of what is. */
  #tellsPath(path: string): boolean {
    const match = meet(this.#top, path, true);
    if (this.#masks === undefined) return match.kind !== 'apart';
    return match.kind !== 'covered' || (match.action > EXCLUDE && match.end === path.length);
  }

  /** Of a masked array nobody sees the length. */
  #tellsTruncation(bytes: Uint8Array, start: number): boolean {
    const field = findElement(bytes, start, bytes.length, FIELD);
    if (field < 0 || bytes[field] !== BsonType.string) return false;
    const match = meet(this.#top, textAt(bytes, nameEnd(bytes, field + 1)), true);
    return this.#masks === undefined ? match.kind !== 'apart' : match.kind !== 'covered';
  }

  #command(bytes: Uint8Array, start: number, limit: number, array = false): void {
    const out = this.#out;
    const opened = out.begin();
    const last = documentLast(bytes, start, limit);
    for (let at = start + 4, end = at; at < last; at = end) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      end = valueEnd(bytes, type, value, last);
      if (!array && VALUE_OPTIONS.has(latin1Text(bytes, at + 1, value - 1))) continue;
      if (type === BsonType.document || type === BsonType.array) {
        out.copy(bytes, at, value);
        this.#command(bytes, value, end, type === BsonType.array);
      } else out.copy(bytes, at, end);
    }
    out.end(opened);
  }
}

const FIELD = encodeText('field');

/** The string value that lies at `at`. */
function textAt(bytes: Uint8Array, at: number): string {
  return latin1Text(bytes, at + 4, stringEnd(bytes, at, bytes.length) - 1);
}
