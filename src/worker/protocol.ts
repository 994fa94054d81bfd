/**
 * What main and the workers say to each other: plain data and bytes, failures too (piscina would strip an error of its
 * class and code). A job holds all there is to know, so that any worker takes any batch.
 */
import { DATA_OPERATIONS, DDL_OPERATIONS } from '../config/operations.ts';
import type { CloudEventsConfig, FieldsConfig, Format, ImagesConfig, MaskConfig, Operation } from '../config/config.ts';
import type { WhereConfig } from '../config/where.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { PlanHandle } from './plan.ts';

/** What is to become of a source's batches. */
export interface WorkerPlan {
  readonly source: SourcePlan;
  readonly partitions: number;
  readonly partitionBy: readonly { readonly namespaces: readonly string[]; readonly key: 'namespace' | 'document' }[];
}

export interface SourcePlan {
  readonly name: string;
  /** Its batches hold a change stream's events, not entries; `expanded`: all that the server shows when asked to. */
  readonly changeStream?: { readonly expanded: boolean };
  /** Only this source's; a lane is named by `subscription * partitions + partition`, counted in this order. */
  readonly subscriptions: readonly SubscriptionPlan[];
}

export interface SubscriptionPlan {
  readonly name: string;
  readonly namespaces: readonly string[];
  readonly operations: readonly Operation[];
  /** Events show what `showExpandedEvents` adds. */
  readonly expanded: boolean;
  /** Left out where no more is asked for than the entry has. */
  readonly images?: ImagesConfig | undefined;
  /** Whether `transactionBegin` and `transactionEnd` go with its transactions. */
  readonly transactions: boolean;
  readonly format: Format;
  /** 1: each event is a message of its own. More: JSON lines or BSON documents back to back. */
  readonly maxEvents: number;
  readonly maxBytes: number;
  /** An event whose message would be larger is parked. */
  readonly maxMessageBytes: number;
  /** A template: the routing key, or the queue's name where the default exchange is used; '' where there is neither. */
  readonly routingKey: string;
  /** What is asked for beyond the event as it is; left out where nothing is. */
  readonly craft?: CraftPlan | undefined;
  /** Of whole bodies. `maxMessageBytes` then holds for what is compressed. */
  readonly compression?: 'gzip' | 'zstd' | undefined;
}

export interface CraftPlan {
  readonly where?: WhereConfig | undefined;
  readonly fields?: FieldsConfig | undefined;
  readonly mask?: readonly MaskConfig[] | undefined;
  /** Templates by header. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly cloudEvents?: CloudEventsConfig | undefined;
}

/** A message's headers: texts only. */
export type MessageHeaders = Readonly<Record<string, string>>;

/** What a thread is given. */
export type ThreadJob = BatchJob & { readonly plan: PlanHandle };

export interface BatchJob {
  /** A BSON array of oplog entries, or of a change stream's events, as `nextBatch` holds it. */
  readonly bytes: Uint8Array;
  /** The worker's to write the messages to, where it is large enough. */
  readonly room?: ArrayBuffer;
  /** Only entries `from` … `to - 1` of the batch (bisecting one that kills its worker); the whole batch when left out. */
  readonly range?: { readonly from: number; readonly to: number };
  /**
   * Per lane three numbers, (seconds, increment, index): operations at or before it were confirmed in an earlier life and
   * are dropped. Left out once no lane needs it. Length: subscriptions × partitions × 3.
   */
  readonly floors?: Uint32Array;
  /** Whether this server's change streams carry `wallTime` (6.0 and later). */
  readonly wallTime: boolean;
  /** The server's, major × 100 + minor: some fields of expanded events came later. Left out: none of those. */
  readonly serverVersion?: number;
  /** Namespaces whose default collation makes `_id`s equal that differ in bytes: partitioned by namespace always. */
  readonly collated: readonly string[];
  /** The batch is one piece of a larger transaction; see `TransactionPiece`. */
  readonly piece?: TransactionPiece;
  /** What those who watch want to see; left out while nobody does. */
  readonly watches?: readonly Watch[];
  /** Nothing is to be made of it: only which documents it takes is asked. */
  readonly asks?: true;
  /** Documents that were asked for; they lie behind the batch, in the same `bytes`. */
  readonly images?: readonly ImageSection[];
  /** Where events would show more of them than so many bytes, nothing is made of it. */
  readonly mostImageBytes?: number;
  /** They are too large: who asked for them is not delivered to without. */
  readonly imagesRefused?: boolean;
  /** The batch holds no entries but documents of a collection; see `ChunkJob`. */
  readonly chunk?: ChunkJob;
  /** Of a source whose one subscription keeps the last states of its documents: operations of entries up to this are in them. */
  readonly tracks?: { readonly after: Ts };
  /** By document of `StateQuestions`: where its last state lies, behind the batch in the same `bytes`; 0: it has none. */
  readonly states?: Uint32Array;
  /** Collections that are being read for a snapshot: what becomes of their documents is told in `BatchResult.touched`. */
  readonly touching?: readonly string[];
}

/** Documents that lie one behind the other as the server sent them: BSON arrays, `from` … `to - 1`. */
export interface ImageSection {
  readonly from: number;
  readonly to: number;
  /** Of one collection, read at this time; left out: records of `config.system.preimages`. */
  readonly lookup?: { readonly ns: string; readonly uuid: Uint8Array | undefined; readonly at: Ts };
}

/** The documents that a batch touches whose last states are kept; each has a number. */
export interface StateQuestions {
  /** Under what they are kept, one behind the other; `ends` says by number where each ends. */
  readonly keys: Uint8Array;
  readonly ends: Uint32Array;
  /** By number: 1 where the state before the batch matters. */
  readonly needed: Uint8Array;
  /** Numbers of entries: what lies behind one of them is to be asked for once all before it has taken effect. */
  readonly cuts: readonly number[];
  /** Something happened of which nobody can tell what it changed: no state is to be trusted. */
  readonly isUnclear: boolean;
  /** UUIDs of collections whose documents are not known from here on. */
  readonly dropped: readonly Uint8Array[];
}

/** The last states of those documents behind a batch, one behind the other; `ends` says by number where each ends. Of no length: none. */
export interface States {
  readonly documents: Uint8Array;
  readonly ends: Uint32Array;
}

/** Which documents the events of a batch take. */
export interface Questions {
  readonly lookups: readonly Lookup[];
  /** `_id`s of `config.system.preimages`: of one collection at a time, rising. */
  readonly preImages: readonly Ids[];
}

export interface Ids {
  /** A BSON array, each once. */
  readonly ids: Uint8Array;
  readonly count: number;
}

/** Documents of one collection, or some of them. */
export interface Lookup extends Ids {
  readonly db: string;
  readonly coll: string;
  /** The collection's UUID, where the entry names it; another one of that name is not meant. */
  readonly uuid: Uint8Array | undefined;
}

/** A part of a collection that one subscription is given as it stood at one time: an event for each document. */
export interface ChunkJob {
  /** The subscription's number. */
  readonly subscription: number;
  readonly ns: string;
  /** The snapshot's name in the events' ids. */
  readonly run: string;
  readonly at: Ts;
}

/** What a batch does to collections that are being read. */
export interface Touched {
  /** For each operation on one of their documents: the hash of namespace and `_id` (`partition.ts`). Others may share it. */
  readonly documents: Uint32Array;
  readonly commands: readonly TouchingCommand[];
}

/** Where nobody can say what was touched. */
export const UNCLEAR: Touched = { documents: new Uint32Array(), commands: [{ kind: 'unclear', ns: '' }] };

export interface TouchingCommand {
  /** `unclear`: nothing is known of what they hold now. */
  readonly kind: 'drop' | 'dropDatabase' | 'rename' | 'unclear';
  /** "db.coll", a database where that goes as a whole; '' where it may be any. */
  readonly ns: string;
  /** Of a rename. */
  readonly to?: string;
}

/** What one who watches wants to see. A list that is left out: all there are. */
export interface Watch {
  /** Of the same number it always asks for the same events. */
  readonly watcher: number;
  /** Names. */
  readonly subscriptions?: readonly string[] | undefined;
  /** Patterns. */
  readonly namespaces?: readonly string[] | undefined;
  readonly operations?: readonly MessageType[] | undefined;
  /** So many events of this batch at most. */
  readonly most: number;
}

/** What is shown of a batch to one who watches. */
export interface Seen {
  readonly watcher: number;
  /** Events that it asked for. */
  readonly matched: number;
  readonly samples: readonly Sample[];
}

/** An event as its message holds it, or as one of those that its message holds. */
export interface Sample {
  readonly subscription: string;
  /** The subscription's. */
  readonly number: number;
  readonly partition: number;
  readonly ns: string;
  readonly operationType: MessageType;
  /** The event's `_id`. */
  readonly id: string;
  readonly routingKey: string;
  readonly headers: MessageHeaders;
  /** What it takes in its message, before that is compressed. */
  readonly bytes: number;
  /** JSON, and if it is not `whole` the beginning of it. */
  readonly text: string;
  readonly whole: boolean;
}

/** A transaction that was read again from several entries comes in pieces, each as one entry that holds some of its operations. */
export interface TransactionPiece {
  /** How many operations the pieces before it hold. */
  readonly firstIndex: number;
  readonly last: boolean;
  /** Where its operations were written, all in one; known where it was read in the oplog. */
  readonly part?: TransactionPart;
  /** Of the pieces before it. */
  readonly tally?: TransactionTally;
}

/** One of the entries over which a transaction is spread: their pre-images have its time, and numbers that begin anew in each. */
export interface TransactionPart {
  readonly ts: Ts;
  /** The first operation's number in there. */
  readonly from: number;
}

/** What subscriptions with `transactions` were given of a transaction so far. */
export interface TransactionTally {
  /** Lanes that have had its `transactionBegin`, with the namespace that routed it. */
  readonly begun: readonly { readonly lane: number; readonly ns: string }[];
  readonly counts: readonly { readonly subscription: number; readonly ns: string; readonly operations: number }[];
}

/** `spare`: the job's buffers that hold nothing of the result. */
export type BatchReply =
  (BatchResult & { readonly spare?: readonly ArrayBuffer[] }) | { readonly kind: 'rejected'; readonly reason: string };

/**
 * A batch's messages, grouped by lane; within a lane in oplog order. `records` has `RECORD_FIELDS` numbers a message, see
 * `Field`; `bodies` holds their bytes, each message's in one piece.
 */
export interface BatchResult {
  readonly kind: 'done';
  readonly records: Uint32Array;
  readonly bodies: Uint8Array;
  /** The distinct routing keys that records point to. */
  readonly routingKeys: readonly string[];
  /** The distinct sets of headers that records point to; left out where no record has any. */
  readonly headers?: readonly MessageHeaders[] | undefined;
  readonly parked: readonly ParkedEvent[];
  /** By the number that a gate record names: how many counted arrivals open it. */
  readonly gates: readonly number[];
  /** By such a number: why that gate never opens. Left out where all do. */
  readonly walls?: ReadonlyMap<number, string> | undefined;
  /** Of a job that asks. */
  readonly questions?: Questions | undefined;
  /** Of a job that asks, and tracks. */
  readonly stateQuestions?: StateQuestions | undefined;
  /** Of a job with `states`. */
  readonly states?: States | undefined;
  /** Nothing was made: documents take more than `mostImageBytes`. */
  readonly isTooMuch?: boolean;
  /** What transactions do in this batch beyond a single entry, in oplog order. */
  readonly marks: readonly TransactionMark[];
  /** Of a piece, for the next one. */
  readonly tally?: TransactionTally | undefined;
  /** Of the last entry in the batch or range; undefined when it had none, and of a change stream, whose batch itself says it. */
  readonly last: OpTime | undefined;
  /** The last entry's wall clock, ms since 1970; 0 when it had none. */
  readonly lastWallMs: number;
  readonly entries: number;
  /** Per subscription of the source: events in `records`. */
  readonly events: Uint32Array;
  /** Operations that no subscription asked for. */
  readonly filtered: number;
  /** `op` values this version has never heard of, with how often they came. */
  readonly unknownOps: Readonly<Record<string, number>>;
  /** Milliseconds of worker time. */
  readonly decodeMs: number;
  /** For those who watch. */
  readonly seen?: readonly Seen[];
  /** Of what the job asked for; left out where there is nothing. */
  readonly touched?: Touched | undefined;
  /** Only of a chunk: for each record the `_id`s of its first and its last event, which are no positions. */
  readonly ids?: readonly string[] | undefined;
  /** Only of a chunk: `DOCUMENT_FIELDS` numbers for each of its documents, the first of which has this number in the batch. */
  readonly documents?: Uint32Array | undefined;
  readonly firstDocument?: number | undefined;
}

/** A result without anything in it. */
export const NOTHING: BatchResult = {
  kind: 'done',
  records: new Uint32Array(),
  bodies: new Uint8Array(),
  routingKeys: [],
  parked: [],
  gates: [],
  marks: [],
  last: undefined,
  lastWallMs: 0,
  entries: 1,
  events: new Uint32Array(),
  filtered: 0,
  unknownOps: {},
  decodeMs: 0,
};

/**
 * A transaction whose operations do not lie in one entry: begun (parts of it, or prepared), given up, or taking effect here.
 * `session` names it: a session has one open transaction at most.
 */
export type TransactionMark =
  | {
      readonly kind: 'open';
      readonly session: string;
      /** The entry before its first one; undefined when that lies before this batch. */
      readonly before: OpTime | undefined;
      /** It begins a transaction, rather than to go on with one. */
      readonly first: boolean;
    }
  | { readonly kind: 'aborted'; readonly session: string }
  | ({ readonly kind: 'commit'; readonly session: string } & TransactionCommit);

export interface TransactionCommit {
  /** How many of the result's records, and of its parked events, come before it. */
  readonly records: number;
  readonly parked: number;
  /** The entry before this one; undefined when that lies before this batch. */
  readonly before: OpTime | undefined;
  /** The entry at which it takes effect. */
  readonly at: OpTime;
  /** The entry before it in the transaction's chain (`prevOpTime`). */
  readonly previous: OpTime;
  /** Where in the batch this entry lies. */
  readonly start: number;
  readonly end: number;
}

/** One event (or entry) that was set aside, with its bytes, instead of delivered. */
export interface ParkedEvent {
  /** Index into the source's subscriptions. */
  readonly subscription: number;
  /** The event's `_id`; a whole entry's has the index 0. */
  readonly id: string;
  readonly ns: string;
  readonly reason: ParkReason;
  /** For people: what was wrong, exactly. */
  readonly detail: string;
  /** The raw oplog entry; of a subscription that hides fields, the event as it may be seen (BSON), or nothing. */
  readonly entry: Uint8Array;
  /** `entry` is no oplog entry but an event. */
  readonly shaped?: true;
  /** The lane it would have gone to; known of what came as far as its own message. */
  readonly partition?: number;
  /** Nothing of the entry was delivered, from the operation on that the `_id` names; otherwise it is that operation alone. */
  readonly whole?: true;
  /** The entry is a piece of a larger transaction, in which its first operation has this number. */
  readonly firstIndex?: number;
  /** Only of a chunk: which of the result's documents it is. */
  readonly document?: number;
}

export const PARK_REASONS = [
  'undecodable',
  'too-large',
  'missing-field',
  'routing-key-too-long',
  'headers-too-long',
  'no-form',
  'unknown-op',
  'worker-crash',
  'refused',
  'unroutable',
] as const;

export type ParkReason = (typeof PARK_REASONS)[number];

export const DOCUMENT_FIELDS = 4;

/** Offsets in one row of `BatchResult.documents`. */
export const DocumentField = {
  /** As in `Touched`. */
  hash: 0,
  /** Number of the record that holds its event, counted from 1; 0: no message does. */
  record: 1,
  /** Where its event lies, before compression. */
  start: 2,
  length: 3,
} as const;

export const RECORD_FIELDS = 14;

/** Offsets inside one record. All values are unsigned 32-bit numbers. */
export const Field = {
  lane: 0,
  /** Index into `routingKeys`. */
  routingKey: 1,
  /** Index into `MESSAGE_TYPES`, or `GATE`. */
  type: 2,
  /** Of a gate: its number in `BatchResult.gates`. */
  offset: 3,
  length: 4,
  /** Of a gate: 1 where this lane's arrival counts, 0 where it only waits. */
  events: 5,
  firstSeconds: 6,
  firstIncrement: 7,
  firstIndex: 8,
  lastSeconds: 9,
  lastIncrement: 10,
  lastIndex: 11,
  /** Wall clock of the last event, seconds since 1970. */
  wallSeconds: 12,
  /** Number in `headers`, counted from 1; 0: the message has none. */
  headers: 13,
} as const;

/** AMQP's `type` property. The order of the first four is that of `CRUD`. */
export const MESSAGE_TYPES = [
  ...DATA_OPERATIONS,
  'batch',
  ...DDL_OPERATIONS,
  'resync',
  'transactionBegin',
  'transactionEnd',
  'snapshot',
] as const;
export type MessageType = (typeof MESSAGE_TYPES)[number];

/**
 * A record of this type is no message. A lane that comes to it waits until all before it is settled, then arrives; it goes on
 * once as many lanes as `BatchResult.gates` says have arrived.
 */
export const GATE = 255;

/**
 * The numbers of `transactionBegin` and `transactionEnd`, whose `_id`s end in words. In records a begin stands behind
 * everything of the timestamp before its own, as (seconds, increment - 1, `BEGIN_INDEX`): before the transaction's operation 0.
 */
export const BEGIN_INDEX = 0xffff_ffff;
export const END_INDEX = 0xffff_fffe;

/** What follows the source's name in an event's `_id`. */
export function eventIdTail(seconds: number, increment: number, index: number): string {
  return `${seconds}.${increment}.${index === BEGIN_INDEX ? 'begin' : index === END_INDEX ? 'end' : index}`;
}
