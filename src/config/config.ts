/**
 * The checked configuration: what `tailrace.yaml` becomes once defaults are filled in, units are numbers (`…Ms`, `…Bytes`)
 * and names are resolved. Everything behind the loader works with this and never sees the file.
 */
import type { Declared } from './declared.ts';
import type { Operation } from './operations.ts';
import type { LanePort } from '../lanes/port.ts';
import type { Ts } from '../source/position.ts';
import type { WhereConfig } from './where.ts';

export interface Config {
  /** Absolute; paths inside the file are relative to it. */
  readonly folder: string;
  readonly management: 'file' | 'online';
  readonly sources: readonly SourceConfig[];
  readonly sinks: readonly SinkConfig[];
  readonly subscriptions: readonly SubscriptionConfig[];
  readonly pipeline: PipelineConfig;
  readonly checkpoint: { readonly path: string; readonly intervalMs: number };
  readonly parked: { readonly maxBytes: number };
  /** `undefined` when switched off. */
  readonly http: HttpConfig | undefined;
  readonly shutdownTimeoutMs: number;
  readonly log: { readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' };
  /** What was written, for people; only where something was. */
  readonly declared?: Declared;
}

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  /** A secret. */
  readonly token?: string | undefined;
}

export interface SourceConfig {
  readonly name: string;
  readonly uri: string;
  readonly mode: 'oplog' | 'changeStream';
  readonly start: Start;
  readonly onPositionLost: 'stop' | 'earliest' | 'latest' | 'snapshot';
  /** The server leaves out what no subscription matches; only with `mode: oplog`. */
  readonly serverFilter?: boolean;
  /** Only with `mode: changeStream`. */
  readonly changeStream?: ChangeStreamConfig;
}

/** How a subscription's snapshots are read. */
export interface SnapshotConfig {
  /** Collections at a time. */
  readonly parallel: number;
  /** Documents per second; undefined: as many as go. */
  readonly maxRate?: number | undefined;
  /** Of the time while something else goes the same way, so much is left to that, from 0 to below 1. */
  readonly share: number;
}

export interface ChangeStreamConfig {
  /** `deployment`, a database, or "db.coll". */
  readonly watch: string;
  readonly fullDocument: ImagesConfig['after'];
  readonly fullDocumentBeforeChange: ImagesConfig['before'];
  readonly onOversizeEvent: 'park' | 'stop';
}

/** `from` is inclusive: an ISO date as (seconds, 0), a user's "seconds:increment" (what came after it) as its next `ts`. */
export type Start =
  | { readonly kind: 'latest' }
  /** As `latest`, and what is there already comes beside it. */
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'earliest' }
  | {
      readonly kind: 'from';
      readonly ts: Ts;
      /** The first entry's operations up to this one are not wanted. */
      readonly index?: number;
      readonly written: string;
    };

export interface SinkConfig {
  readonly name: string;
  readonly uri: string;
  /** Only with amqps://. */
  readonly tls?: SinkTlsConfig;
  readonly declare: boolean;
  /** Refuse to deliver what another engine delivers. */
  readonly lock: boolean;
  /** Lanes are spread over so many. */
  readonly connections: number;
  /** Unconfirmed messages per lane. */
  readonly window: number;
  readonly heartbeatMs: number;
  readonly confirmTimeoutMs: number;
  readonly maxMessageBytes: number;
}

/** Absolute paths of PEM files. */
export interface SinkTlsConfig {
  /** Trusted instead of those that Node trusts. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** A secret. */
  readonly passphrase?: string | undefined;
  /** What the broker's certificate calls it, where that is not the URI's host. */
  readonly serverName?: string | undefined;
  readonly login: 'password' | 'certificate';
}

export type { DdlOperation, Operation } from './operations.ts';

export interface SubscriptionConfig {
  readonly name: string;
  readonly source: string;
  /** Patterns over "db.coll"; `*` stands for any characters, `!` excludes. */
  readonly namespaces: readonly string[];
  readonly operations: readonly Operation[];
  /** Events show what MongoDB's `showExpandedEvents` adds. */
  readonly expanded: boolean;
  /** Left out where no more is asked for than the oplog has; only with `mode: oplog`. */
  readonly images?: ImagesConfig | undefined;
  readonly format: Format;
  /** Only with the format `cloudevents`. */
  readonly cloudEvents?: CloudEventsConfig | undefined;
  readonly compression?: 'gzip' | 'zstd' | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly where?: WhereConfig | undefined;
  readonly fields?: FieldsConfig | undefined;
  readonly mask?: readonly MaskConfig[] | undefined;
  readonly batch: { readonly maxEvents: number; readonly maxBytes: number; readonly lingerMs: number };
  readonly order: 'pipelined' | 'strict';
  /** `transactionBegin` and `transactionEnd` events as well. */
  readonly transactions: boolean;
  readonly onUnroutable: 'hold' | 'park';
  readonly snapshot?: SnapshotConfig | undefined;
  readonly to: Destination;
}

/** Whole documents, in MongoDB's words. */
export interface ImagesConfig {
  /** Of an update: `fullDocument`. */
  readonly after: 'default' | 'updateLookup' | 'whenAvailable' | 'required';
  /** `fullDocumentBeforeChange` */
  readonly before: 'off' | 'whenAvailable' | 'required';
  /** Out of the last states that are kept here, and not of what the server keeps. */
  readonly local?: LocalImagesConfig | undefined;
}

export interface LocalImagesConfig {
  /** On disk; what does not fit is not kept. */
  readonly maxBytes: number;
}

export type Format = 'json' | 'json-canonical' | 'bson' | 'debezium' | 'cloudevents';

export interface CloudEventsConfig {
  readonly mode: 'structured' | 'binary';
  /** Templates. */
  readonly source: string;
  readonly type: string;
  readonly headerPrefix: string;
}

/** Dotted paths inside documents. */
export interface FieldsConfig {
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

export type MaskConfig = { readonly fields: readonly string[] } & (
  | { readonly kind: 'constant'; readonly value: string | number | boolean | null }
  /** `key` is a secret. */
  | { readonly kind: 'hash'; readonly key: string; readonly encoding: 'hex' | 'base64' }
);

export type Destination =
  | {
      readonly kind: 'exchange';
      readonly sink: string;
      readonly exchange: string;
      readonly routingKey: string;
      readonly queues: readonly BoundQueue[];
    }
  | {
      readonly kind: 'queue';
      readonly sink: string;
      /** May hold templates: `{partition}` and the others. */
      readonly queue: string;
      readonly queueType: QueueType;
      readonly queueArguments: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'stdout' }
  /** In this program; not from a file. */
  | {
      readonly kind: 'port';
      readonly port: LanePort;
      /** Nothing of a message's bytes is looked at once it is confirmed. */
      readonly letsGo?: boolean;
    }
  | { readonly kind: 'file'; readonly path: string };

export type QueueType = 'classic' | 'quorum' | 'stream';

export interface BoundQueue {
  readonly name: string;
  readonly type: QueueType;
  readonly bind: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface PipelineConfig {
  /** Worker threads: as many as the load asks for, between the two. */
  readonly workers: { readonly least: number; readonly most: number };
  readonly partitions: number;
  /** First match wins; the namespace where none does. */
  readonly partitionBy: readonly { readonly namespaces: readonly string[]; readonly key: 'namespace' | 'document' }[];
  readonly inFlightBytes: number;
  /** For so long a subscription may hold the others of its source; undefined: for ever. */
  readonly detachAfterMs: number | undefined;
}
