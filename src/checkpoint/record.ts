/**
 * What the data folder holds, and its form on disk: JSON behind a CRC-32. The checksum is there because a flipped bit in
 * a position would skip changes without a word; whatever does not decode to exactly what was stored is damage, never a
 * guess. Invariant: `decode…(encode…(x))` equals `x`; a record of a later version is refused, not half understood.
 */
import { crc32 } from 'node:zlib';
import { UserError } from '../errors.ts';
import type { Position, ResumePoint, Ts } from '../source/position.ts';
import type { SnapshotCause, SnapshotState } from '../observe/status.ts';
import type { ParkReason } from '../worker/protocol.ts';
import type { DefinitionVersion } from './definitions.ts';

export const RECORD_VERSION = 1;

/** Where one subscription stands. Everything in it was true at the same moment. */
export interface CheckpointRecord {
  readonly version: typeof RECORD_VERSION;
  readonly subscription: string;
  readonly source: string;
  /** As in `SourceIdentity`: hex, or `name:<set>`. */
  readonly replicaSetId: string;
  /** Where a cursor reopens; never past the first entry of an open transaction. */
  readonly resume: ResumePoint;
  /** Everything at or before it was confirmed; undefined until something was. */
  readonly watermark: Position | undefined;
  /**
   * Reading began at what was the oplog's oldest entry: a transaction that began before it is torn, and no further loss. Missing
   * where reading began anywhere else.
   */
  readonly torn?: Ts | undefined;
  /** By partition: the lane's last confirmed operation. Used only to skip what was confirmed already. */
  readonly lanes: readonly (LanePosition | undefined)[];
  /** A hash of all that decides which lane an event takes and where it goes; when it differs, `lanes` means nothing. */
  readonly routing: string;
  /** A hash of `partitions` and `partitionBy` alone. */
  readonly layout: string;
  readonly partitions: number;
  /** Whether the queue's name held `{partition}`. */
  readonly partitionQueues: boolean;
  /** Milliseconds since 1970. */
  readonly updatedAt: number;
  /** When somebody paused the subscription, likewise; missing while nobody has. */
  readonly pausedAt?: number | undefined;
  /** Oldest first; missing where there are none. */
  readonly snapshots?: readonly SnapshotRecord[] | undefined;
}

/**
 * One snapshot of a subscription: collections are read in the order of their names, each in the order of `_id`. In the record of its
 * subscription's positions, so that what is said to be done never lies behind positions that are older.
 */
export interface SnapshotRecord {
  /** Its name in the events' ids. */
  readonly run: string;
  readonly cause: SnapshotCause;
  /** Patterns; missing: all that the subscription follows. */
  readonly namespaces?: readonly string[] | undefined;
  /** A query, as Extended JSON; missing: all documents. */
  readonly filter?: string | undefined;
  readonly state: SnapshotState;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly endedAt?: number | undefined;
  /** All collections whose names are not behind this are done, but for those in `open` and in `again`. */
  readonly begun: string;
  readonly open: readonly SnapshotCollection[];
  /** These got other documents while it ran, by a rename: to be read from the beginning. */
  readonly again: readonly string[];
  /** So many renames brought such; missing: none did. */
  readonly renames?: number | undefined;
  /** Delivered. */
  readonly documents: number;
  readonly collections: number;
}

export interface SnapshotCollection {
  readonly ns: string;
  /** Of one that is read again: by which of the renames. Missing: it is read for the first time. */
  readonly rename?: number | undefined;
  /** Everything up to here is delivered: BSON of a document with nothing but its `_id`, base64. Missing: nothing is. */
  readonly last?: string | undefined;
  /** Delivered. */
  readonly documents: number;
}

/** A lane needs no term: everything it holds comes from one verified history. */
export interface LanePosition {
  readonly ts: Ts;
  readonly index: number;
}

/** Changes that nobody will get: `from` was the last position held, `to` is where reading went on. */
export interface GapRecord {
  readonly source: string;
  readonly subscription: string;
  readonly from: Ts;
  readonly to: Ts;
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** A checkpoint was forgotten at `from`; where its subscription begins anew, which `to` will be, is not known yet. */
  readonly open?: true;
}

/** One event set aside instead of delivered, with what is needed to try again. */
export interface ParkedRecord extends ParkedSummary {
  /** The raw oplog entry, or the finished message. */
  readonly payload: Uint8Array;
}

export interface ParkedSummary {
  readonly subscription: string;
  /** The event's `_id`. */
  readonly id: string;
  readonly ns: string;
  readonly reason: ParkReason;
  readonly detail: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly payloadKind: 'entry' | 'event' | 'message';
  /** Only of a message. */
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Only of a message: what else it was sent with. */
  readonly message?: ParkedMessage;
  /** Of an entry or an event: what it takes to make the same of it again. */
  readonly origin?: ParkedOrigin;
}

export interface ParkedMessage {
  readonly routingKey: string;
  readonly type: string;
  readonly wallSeconds: number;
  readonly events: number;
  readonly partition: number;
}

export interface ParkedOrigin {
  /** Of the server that wrote it: major × 100 + minor. */
  readonly serverVersion: number;
  /** Namespaces that were partitioned as a whole, because of their collation. */
  readonly collated?: readonly string[];
  /** It came from a change stream, opened with or without `showExpandedEvents`. */
  readonly stream?: 'plain' | 'expanded';
  /** See `ParkedEvent` in the workers' protocol. */
  readonly partition?: number;
  readonly whole?: true;
  readonly firstIndex?: number;
  /** Of an event: which fields had been taken out of it. */
  readonly shape?: string;
}

/** The bytes are not what was once stored. */
class DamagedRecordError extends Error {
  override readonly name = 'DamagedRecordError';
}

/** JSON has no `undefined`, and lanes are many: three numbers each. */
interface StoredCheckpoint extends Omit<CheckpointRecord, 'watermark' | 'lanes'> {
  readonly watermark: Position | null;
  readonly lanes: readonly (readonly [seconds: number, increment: number, index: number] | null)[];
}

interface StoredParked {
  readonly summary: ParkedSummary;
  /** The payload's length, kept beside the summary so that the store's size is known without reading payloads. */
  readonly bytes: number;
}

/** What a file of `recent` holds: `number` counts all that were ever written. */
export interface RecentRecords {
  readonly number: number;
  readonly records: readonly CheckpointRecord[];
}

export function encodeCheckpoint(record: CheckpointRecord): Buffer {
  return seal(storedOf(record));
}

/** Its length comes first: a file may hold the end of a longer one behind it. */
export function encodeRecent({ number, records }: RecentRecords): Buffer {
  const sealed = seal({ number, records: records.map(storedOf) });
  const length = Buffer.allocUnsafe(LENGTH_BYTES);
  length.writeUInt32LE(sealed.length);
  return Buffer.concat([length, sealed]);
}

/** Undefined where the bytes are not what was once written. Throws `UserError` `store-newer`. */
export function decodeRecent(bytes: Buffer): RecentRecords | undefined {
  try {
    const length = bytes.readUInt32LE();
    const { number, records } = JSON.parse(unseal(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length))) as {
      readonly number: number;
      readonly records: readonly StoredCheckpoint[];
    };
    return { number, records: records.map(checkpointOf) };
  } catch (error) {
    if (error instanceof UserError) throw error;
    return undefined;
  }
}

function storedOf(record: CheckpointRecord): StoredCheckpoint {
  const { watermark, lanes } = record;
  return {
    ...record,
    watermark: watermark ?? null,
    lanes: lanes.map((lane) => (lane === undefined ? null : [lane.ts.seconds, lane.ts.increment, lane.index])),
  };
}

export function decodeCheckpoint(bytes: Uint8Array): CheckpointRecord {
  return checkpointOf(JSON.parse(unseal(bytes)) as StoredCheckpoint);
}

function checkpointOf(stored: StoredCheckpoint): CheckpointRecord {
  return {
    ...stored,
    watermark: stored.watermark ?? undefined,
    lanes: stored.lanes.map((lane) =>
      lane === null ? undefined : { ts: { seconds: lane[0], increment: lane[1] }, index: lane[2] },
    ),
  };
}

/** What `encodeCheckpoint` sealed, as text. */
export function textOfSealed(sealed: Buffer): string {
  return sealed.toString('utf8', HEADER_BYTES);
}

export function checkpointFromText(text: string): CheckpointRecord {
  return checkpointOf(JSON.parse(text) as StoredCheckpoint);
}

export function encodeGap(gap: GapRecord): Buffer {
  return seal(gap);
}

export function decodeGap(bytes: Uint8Array): GapRecord {
  const gap: GapRecord = JSON.parse(unseal(bytes));
  return gap;
}

export function encodeDefinitions(version: DefinitionVersion): Buffer {
  return seal(version);
}

export function decodeDefinitions(bytes: Uint8Array): DefinitionVersion {
  const version: DefinitionVersion = JSON.parse(unseal(bytes));
  return version;
}

export function encodeParked(summary: ParkedSummary, bytes: number): Buffer {
  const stored: StoredParked = { summary, bytes };
  return seal(stored);
}

export function decodeParked(sealed: Uint8Array): StoredParked {
  const stored: StoredParked = JSON.parse(unseal(sealed));
  return stored;
}

/** Four bytes of checksum, one of version, the rest is JSON. */
const HEADER_BYTES = 5;
const LENGTH_BYTES = 4;

function seal(value: object): Buffer {
  const json = JSON.stringify(value);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + Buffer.byteLength(json));
  bytes.write(json, HEADER_BYTES);
  bytes.writeUInt8(RECORD_VERSION, 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** The JSON that was sealed. */
function unseal(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < HEADER_BYTES || buffer.readUInt32LE(0) !== crc32(buffer.subarray(4))) {
    throw new DamagedRecordError(`a record of ${buffer.length} bytes does not match its checksum`);
  }
  refuseNewer(buffer.readUInt8(4));
  return buffer.toString('utf8', HEADER_BYTES);
}

function refuseNewer(version: number): void {
  if (version > RECORD_VERSION) {
    throw new UserError(
      'store-newer',
      `The data folder was written by a later version of Tailrace (record version ${version}, this one knows up to ` +
        `${RECORD_VERSION}). Start that version again; or, to begin anew, move the folder away: the subscriptions then ` +
        `begin at their source's \`start\`.`,
    );
  }
}
