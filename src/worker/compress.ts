/**
 * Compressed bodies. A message is compressed as a whole, once all that the worker joined is in it. What main joins later is
 * members of gzip one behind the other, which decoders read as one text; bodies of zstd are not joined (see lane-set.ts).
 * Invariant: what is sent is never above the subscription's limit; an event that could be is tried before it is taken.
 */
import zlib from 'node:zlib';
import { joinedBytes } from './bson.ts';
import type { BatchResult } from './protocol.ts';
import { Field, GATE, RECORD_FIELDS } from './protocol.ts';

export type Compression = 'gzip' | 'zstd';

/** Node has zstd from 22.15 on; the types that this is built with do not know it yet. */
const { zstdCompressSync } = zlib as { zstdCompressSync?: (bytes: Uint8Array) => Uint8Array };

export const ZSTD_KNOWN = zstdCompressSync !== undefined;

export function compress(bytes: Uint8Array, compression: Compression): Uint8Array {
  if (compression === 'gzip') return zlib.gzipSync(bytes);
  if (zstdCompressSync === undefined) throw new Error('this version of Node has no zstd');
  return zstdCompressSync(bytes);
}

/** What bytes that cannot be compressed grow by, at most: a header, and a few bytes for each block. */
function compressionOverhead(bytes: number): number {
  return 64 + Math.ceil(bytes / 1024);
}

/** Bodies no smaller than this may be sent without having been tried. */
export function surelyFits(maxMessageBytes: number): number {
  return Math.max(0, maxMessageBytes - compressionOverhead(maxMessageBytes));
}

/** Whether a body that is over the limit, or nearly, is within it once it is compressed. */
export function fitsCompressed(
  bytes: Uint8Array,
  start: number,
  length: number,
  { compression, maxRawBytes, maxMessageBytes }: CompressionLimits,
): boolean {
  if (compression === undefined || length > maxRawBytes) return false;
  return compress(bytes.subarray(start, start + length), compression).length <= maxMessageBytes;
}

export interface CompressionLimits {
  readonly compression: Compression | undefined;
  readonly maxRawBytes: number;
  readonly maxMessageBytes: number;
}

/** The bodies that records point to, those of compressed subscriptions compressed; the records then point to where they are now. */
export function compressRecords(
  records: BatchResult['records'],
  bytes: Uint8Array,
  compressionOf: (lane: number) => Compression | undefined,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let at = 0; at < records.length; at += RECORD_FIELDS) {
    if (records[at + Field.type] === GATE) continue;
    const offset = records[at + Field.offset]!;
    const body = bytes.subarray(offset, offset + records[at + Field.length]!);
    const compression = compressionOf(records[at + Field.lane]!);
    const sent = compression === undefined ? body : compress(body, compression);
    records[at + Field.offset] = length;
    records[at + Field.length] = sent.length;
    parts.push(sent);
    length += sent.length;
  }
  return joinedBytes(parts);
}
