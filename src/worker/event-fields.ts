/** Looks into a finished event: where its fields lie, and texts that formats make of them. Off the hot path. */
import { BsonType, decodeText, documentLast, encodeText, findElement, nameEnd, readUint32, stringEnd } from './bson.ts';
import { putJsonValue } from './json-writer.ts';
import { Output, SLACK } from './output.ts';

export interface FieldPlace {
  readonly type: number;
  /** Where its value begins. */
  readonly at: number;
  /** The closing zero of the document that holds it. */
  readonly last: number;
}

const names = new Map<string, Uint8Array>();

/** A field of the document at `start`; undefined where there is none. */
export function field(bytes: Uint8Array, start: number, name: string): FieldPlace | undefined {
  let encoded = names.get(name);
  if (encoded === undefined) names.set(name, (encoded = encodeText(name)));
  const element = findElement(bytes, start, bytes.length, encoded);
  if (element < 0) return undefined;
  const last = documentLast(bytes, start, bytes.length);
  return { type: bytes[element]!, at: nameEnd(bytes, element + 1), last };
}

/** Where a field that is a document begins; -1 where it is none. */
export function documentField(bytes: Uint8Array, start: number, name: string): number {
  const found = field(bytes, start, name);
  return found?.type === BsonType.document ? found.at : -1;
}

/** '' where it is no string. */
export function textField(bytes: Uint8Array, start: number, name: string): string {
  const found = field(bytes, start, name);
  if (found?.type !== BsonType.string) return '';
  return decodeText(bytes, found.at + 4, stringEnd(bytes, found.at, found.last) - 1);
}

export interface EventTime {
  readonly seconds: number;
  readonly increment: number;
  /** By the server's wall clock; by its cluster time, whose seconds are whole, where the event has no wall time. */
  readonly wallMs: number;
  readonly hasWall: boolean;
}

export function timeOf(event: Uint8Array): EventTime {
  const cluster = field(event, 0, 'clusterTime');
  const wall = field(event, 0, 'wallTime');
  const seconds = cluster === undefined ? 0 : readUint32(event, cluster.at + 4);
  const hasWall = wall?.type === BsonType.date;
  return {
    seconds,
    increment: cluster === undefined ? 0 : readUint32(event, cluster.at),
    wallMs: hasWall
      ? Number(Buffer.from(event.buffer, event.byteOffset + wall.at, 8).readBigInt64LE())
      : seconds * 1_000,
    hasWall,
  };
}

const scratch = new Output(64 * 1024);

/** A value as Extended JSON. */
export function jsonText(bytes: Uint8Array, { type, at, last }: FieldPlace, relaxed: boolean): string {
  let end = putJsonValue(scratch, 0, bytes, type, at, last, relaxed, 0);
  if (end > scratch.bytes.length - SLACK) {
    scratch.grow(end, 0);
    end = putJsonValue(scratch, 0, bytes, type, at, last, relaxed, 0);
  }
  return decodeText(scratch.bytes, 0, end);
}
