/** The events that `tail` gives, typed by their `operationType`: MongoDB's change events with an `_id` of ours. */
import type { Document, Long, Timestamp, UUID } from 'bson';

interface Event {
  /** `source:seconds.increment.index`: the same however often and by whomever the change is delivered. */
  readonly _id: string;
  readonly clusterTime: Timestamp;
  /** From MongoDB 6.0 on. */
  readonly wallTime?: Date;
  /** With `expanded`. */
  readonly collectionUUID?: UUID;
  /** In a transaction. */
  readonly lsid?: Document;
  readonly txnNumber?: Long | number;
}

export interface Namespace {
  readonly db: string;
  readonly coll: string;
}

interface DocumentEvent extends Event {
  readonly ns: Namespace;
  /** `_id`, and the shard key where there is one. */
  readonly documentKey: Document;
}

export interface InsertEvent<T extends Document = Document> extends DocumentEvent {
  readonly operationType: 'insert';
  readonly fullDocument: T;
}

export interface UpdateEvent extends DocumentEvent {
  readonly operationType: 'update';
  readonly updateDescription: {
    /** By dotted path. */
    readonly updatedFields: Document;
    readonly removedFields: readonly string[];
    readonly truncatedArrays?: readonly { readonly field: string; readonly newSize: number }[];
    /** With `expanded`: the parts of those paths that could be read in several ways. */
    readonly disambiguatedPaths?: Readonly<Record<string, readonly (string | number)[]>>;
  };
}

export interface ReplaceEvent<T extends Document = Document> extends DocumentEvent {
  readonly operationType: 'replace';
  readonly fullDocument: T;
}

export interface DeleteEvent extends DocumentEvent {
  readonly operationType: 'delete';
}

export interface CommandEvent extends Event {
  readonly operationType:
    | 'create'
    | 'createIndexes'
    | 'drop'
    | 'dropIndexes'
    | 'modify'
    | 'refineCollectionShardKey'
    | 'reshardCollection'
    | 'shardCollection';
  readonly ns: Namespace;
  readonly operationDescription?: Document;
}

export interface RenameEvent extends Event {
  readonly operationType: 'rename';
  readonly ns: Namespace;
  readonly to: Namespace;
  readonly operationDescription?: Document;
}

export interface DropDatabaseEvent extends Event {
  readonly operationType: 'dropDatabase';
  readonly ns: Pick<Namespace, 'db'>;
}

/** The collection was replaced as a whole by one that is not followed: no events lead from what was there to what is. */
export interface ResyncEvent extends Event {
  readonly operationType: 'resync';
  readonly ns: Namespace;
  readonly cause: 'rename' | 'out' | 'convertToCapped' | 'renameAcrossDatabases';
  readonly reason: string;
}

/** With `transactions`. */
export interface TransactionBeginEvent extends Event {
  readonly operationType: 'transactionBegin';
}

export interface TransactionEndEvent extends Event {
  readonly operationType: 'transactionEnd';
  readonly operations: number;
  readonly namespaces: readonly (Namespace & { readonly operations: number })[];
}

export type ChangeEvent<T extends Document = Document> =
  | InsertEvent<T>
  | UpdateEvent
  | ReplaceEvent<T>
  | DeleteEvent
  | CommandEvent
  | RenameEvent
  | DropDatabaseEvent
  | ResyncEvent
  | TransactionBeginEvent
  | TransactionEndEvent;

/** A function for each operation that is of interest. */
export type Handlers<T extends Document = Document> = {
  readonly [K in ChangeEvent<T>['operationType']]?: (
    event: Extract<ChangeEvent<T>, { readonly operationType: K }>,
  ) => void | Promise<void>;
};

/** Calls the event's handler, if there is one, and waits for it. */
export async function handle<T extends Document = Document>(
  event: ChangeEvent<T>,
  handlers: Handlers<T>,
): Promise<void> {
  // The compiler cannot see that the name picks the one function which takes this very event.
  await handlers[event.operationType]?.(event as never);
}
