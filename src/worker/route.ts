/**
 * Which subscriptions want what happens in a namespace. Patterns are compiled once and a namespace is judged once: the answer
 * is kept under the namespace's bytes, in a table of fixed size, so that a million collections cost time, not memory.
 */
import type { BatchJob, SourcePlan, WorkerPlan } from './protocol.ts';
import type { DdlOperation, ImagesConfig, Operation } from '../config/config.ts';
import { copyBytes, decodeText, encodeText, readInt32 } from './bson.ts';
import { hashNamespace, toPartition } from './partition.ts';
import { surelyFits } from './compress.ts';
import type { Compression } from './compress.ts';
import { Crafter, isCrafted } from './craft.ts';
import { CRUD } from './crud.ts';
import { compilePatterns } from './pattern.ts';
import type { Matcher } from './pattern.ts';
import { compileTemplate } from './template.ts';
import type { Template } from './template.ts';

export interface CompiledSubscription {
  readonly index: number;
  readonly name: string;
  readonly matches: Matcher;
  readonly namespaces: readonly string[];
  readonly operations: ReadonlySet<Operation>;
  /** Events show what `showExpandedEvents` adds. */
  readonly expanded: boolean;
  readonly images: ImagesConfig | undefined;
  readonly transactions: boolean;
  /** 0 json, 1 json-canonical, 2 bson. */
  readonly format: number;
  /** Subscriptions of the same form get the same bytes of an event: by format, the expanded ones after the others; -1 for crafted ones, and with whole documents. */
  readonly form: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly maxMessageBytes: number;
  /** A body up to here is within the limit whatever becomes of it; a larger one may be, once it is compressed. */
  readonly surelyFits: number;
  /** Larger bodies are not even made. */
  readonly maxRawBytes: number;
  readonly template: Template;
  /** For what the plain way does not do. */
  readonly crafter: Crafter | undefined;
  readonly compression: Compression | undefined;
}

const FORMATS = ['json', 'json-canonical', 'bson'] as const;
export const BSON_FORMAT = 2;
/** How many times its limit a body may have before it is compressed. */
const MAX_RATIO = 8;

/** One subscription that wants one operation of one namespace, with the routing keys that stay the same for all its events. */
export class Target {
  readonly subscription: CompiledSubscription;
  /** Per partition (or at 0 only), once asked for; for templates that look at nothing else. */
  readonly keys: (string | undefined)[] = [];
  /** Indexes into the routing keys of the batch numbered `batch`. */
  readonly indexes: number[] = [];
  batch = -1;

  constructor(subscription: CompiledSubscription) {
    this.subscription = subscription;
  }
}

/** All that is known of a namespace. */
export interface Route {
  readonly ns: string;
  readonly bytes: Uint8Array;
  readonly db: string;
  readonly coll: string;
  /** Never shown to anybody: the server's own namespaces. */
  readonly internal: boolean;
  /** Ends in `.$cmd`. */
  readonly command: boolean;
  /** Its documents are a database's views. */
  readonly views: boolean;
  /** By `Crud`. */
  readonly targets: readonly (readonly Target[])[];
  /** Wanted by no subscription, whatever the operation. */
  readonly idle: boolean;
  /** The last states of its documents are kept. */
  readonly keeps: boolean;
  /** For `key: document`: the start of the hash over `_id`; otherwise unused. */
  readonly hash: number;
  /** The partition, or -1 where it hangs on `_id`. */
  readonly partition: number;
}

const SLOTS = 4096;
const PROBES = 4;

export class Router {
  readonly source: SourcePlan;
  readonly partitions: number;
  readonly subscriptions: readonly CompiledSubscription[];
  /** Some subscription asked for an operation that only no-op entries show. */
  readonly wantsShardingDdl: boolean;
  /** Some subscription asked for what happens to views. */
  readonly wantsViews: boolean;
  /** For each form, how many subscriptions use it. */
  readonly formUsers: readonly number[];
  readonly wantsTransactions: boolean;
  /** What the one subscription asks for that keeps the last states of its documents. */
  readonly keeping: ImagesConfig | undefined;
  #partitionBy: readonly { matches: Matcher; document: boolean }[];
  #collated: ReadonlySet<string> = new Set();
  #collatedKey = '';
  #slots: (Route | undefined)[] = Array.from({ length: SLOTS });
  #latest: Route | undefined;

  constructor(plan: WorkerPlan) {
    const { source } = plan;
    this.source = source;
    this.partitions = plan.partitions;
    this.subscriptions = source.subscriptions.map((subscription, index) => {
      const operations = new Set(subscription.operations);
      const crafter = isCrafted(subscription) ? new Crafter(subscription, source.name) : undefined;
      const { maxMessageBytes, compression } = subscription;
      const fits = compression === undefined ? maxMessageBytes : surelyFits(maxMessageBytes);
      // An envelope is JSON, whatever is in it.
      const format = Math.max(
        0,
        FORMATS.findIndex((one) => one === subscription.format),
      );
      return {
        index,
        name: subscription.name,
        matches: compilePatterns(subscription.namespaces),
        namespaces: subscription.namespaces,
        operations,
        expanded: subscription.expanded,
        images: subscription.images,
        transactions: subscription.transactions,
        format,
        form:
          crafter === undefined && subscription.images === undefined
            ? format + (subscription.expanded ? FORMATS.length : 0)
            : -1,
        maxEvents: subscription.maxEvents,
        maxBytes: Math.min(subscription.maxBytes, fits),
        maxMessageBytes,
        surelyFits: fits,
        maxRawBytes: compression === undefined ? maxMessageBytes : maxMessageBytes * MAX_RATIO,
        template: compileTemplate(subscription.routingKey, { source: source.name, subscription: subscription.name }),
        crafter,
        compression,
      };
    });
    const sharding: readonly DdlOperation[] = ['shardCollection', 'reshardCollection', 'refineCollectionShardKey'];
    this.wantsShardingDdl = this.subscriptions.some((one) => sharding.some((name) => one.operations.has(name)));
    const views: readonly DdlOperation[] = ['create', 'modify', 'drop'];
    this.wantsViews = this.subscriptions.some((one) => one.expanded && views.some((name) => one.operations.has(name)));
    this.formUsers = Array.from(
      { length: FORMATS.length * 2 },
      (_, form) => this.subscriptions.filter((one) => one.form === form).length,
    );
    this.wantsTransactions = this.subscriptions.some(({ transactions }) => transactions);
    this.keeping = this.subscriptions.find(({ images }) => images?.local !== undefined)?.images;
    this.#partitionBy = plan.partitionBy.map(({ namespaces, key }) => ({
      matches: compilePatterns(namespaces),
      document: key === 'document',
    }));
  }

  /** What collections are collated can change from job to job, rarely: then all is judged anew. */
  useCollated(collated: BatchJob['collated']): void {
    if (collated.length === 0 && this.#collatedKey === '') return;
    const key = collated.join('\n');
    if (key === this.#collatedKey) return;
    this.#collatedKey = key;
    this.#collated = new Set(collated);
    this.#slots.fill(undefined);
    this.#latest = undefined;
  }

  /** The namespace whose text lies at `start` … `end - 1`. */
  route(bytes: Uint8Array, start: number, end: number): Route {
    const latest = this.#latest;
    if (latest !== undefined && sameBytes(latest.bytes, bytes, start, end)) return latest;
    const length = end - start;
    let hash = length;
    // A few bytes from either end tell the collections of one server well enough apart; the rest is compared.
    if (length >= 8) {
      hash = Math.imul(hash ^ readInt32(bytes, end - 4), 0x9e37_79b1);
      hash = Math.imul(hash ^ readInt32(bytes, end - 8) ^ (hash >>> 15), 0x85eb_ca6b);
      hash = Math.imul(hash ^ readInt32(bytes, start) ^ (hash >>> 13), 0xc2b2_ae35);
    } else for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x0100_0193);
    hash ^= hash >>> 16;
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = this.#slots[(hash + probe) & (SLOTS - 1)];
      if (slot === undefined) return this.#learn(bytes, start, end, (hash + probe) & (SLOTS - 1));
      if (sameBytes(slot.bytes, bytes, start, end)) {
        this.#latest = slot;
        return slot;
      }
    }
    return this.#learn(bytes, start, end, hash & (SLOTS - 1));
  }

  /** Whether states that are kept may be of this namespace, or of what a command there holds. */
  mayKeep(bytes: Uint8Array, start: number, end: number): boolean {
    const { keeps, command } = this.route(bytes, start, end);
    return keeps || (command && this.subscriptions.some(({ images }) => images?.local !== undefined));
  }

  routeOf(ns: string): Route {
    const bytes = encodeText(ns);
    return this.route(bytes, 0, bytes.length);
  }

  #learn(bytes: Uint8Array, start: number, end: number, slot: number): Route {
    const route = this.#judge(copyBytes(bytes, start, end));
    this.#slots[slot] = route;
    this.#latest = route;
    return route;
  }

  #judge(bytes: Uint8Array): Route {
    const ns = decodeText(bytes, 0, bytes.length);
    const dot = ns.indexOf('.');
    const db = dot < 0 ? ns : ns.slice(0, dot);
    const coll = dot < 0 ? '' : ns.slice(dot + 1);
    const internal = isInternal(db, coll);
    const wanting = internal ? [] : this.subscriptions.filter((subscription) => subscription.matches(ns));
    const targets = CRUD.map((operation) =>
      wanting.filter(({ operations }) => operations.has(operation)).map((subscription) => new Target(subscription)),
    );
    const hash = hashNamespace(bytes);
    const byDocument =
      !this.#collated.has(ns) && (this.#partitionBy.find(({ matches }) => matches(ns))?.document ?? false);
    return {
      ns,
      bytes,
      db,
      coll,
      internal,
      command: coll === '$cmd',
      views: coll === 'system.views',
      targets,
      idle: targets.every((list) => list.length === 0),
      keeps: wanting.some(({ images }) => images?.local !== undefined),
      hash,
      partition: byDocument ? -1 : toPartition(hash, this.partitions),
    };
  }
}

/** What change streams never show. `coll` is '' for a database alone. */
export function isInternal(db: string, coll: string): boolean {
  if (db === 'config' || db === 'local') return true;
  if (coll === '$cmd') return false;
  return db === 'admin' || coll.startsWith('system.') || coll.startsWith('$');
}

function sameBytes(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  const length = known.length;
  if (end - start !== length) return false;
  // Names differ at their ends more often than at their starts.
  for (let k = length - 1; k >= 0; k--) if (known[k] !== bytes[start + k]) return false;
  return true;
}
