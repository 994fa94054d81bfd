/**
 * Commands on their way into a batch's result: who gets the event, and between which gates. A command's event goes to one lane,
 * its home: that of the namespace's partition, also where the collection is spread by document. In each lane that may hold
 * changes of what the command is about stand two gates, and in the home lane the event between them; see `lanes/gate.ts`.
 *
 * Concerned are, for a rename, the lanes of both names; for a database, all lanes of the subscription.
 */
import { overlapOf, splitPatterns } from '../config/patterns.ts';
import { BsonType, decodeText, encodeText, readInt32 } from './bson.ts';
import {
  commandDocument,
  commandName,
  isSwap,
  readCommand,
  readShardingNoop,
  readViewChange,
  resyncDocument,
} from './command-event.ts';
import type { Command, CommandName, Shown } from './command-event.ts';
import type { EntryHead } from './entry.ts';
import { toPartition } from './partition.ts';
import type { MessageType, ParkReason } from './protocol.ts';
import { isInternal } from './route.ts';
import type { CompiledSubscription, Route, Router } from './route.ts';
import type { DocumentRow } from './rows.ts';

/** What a command leaves in the batch that is being scanned. */
export interface CommandSink {
  /** Whether an earlier life had this operation of the entry confirmed in this lane. */
  isConfirmed(lane: number, index: number): boolean;
  addDocument(row: DocumentRow): boolean;
  newGate(arrivals: number): number;
  addGate(lane: number, gate: number, counts: boolean): void;
  park(subscription: CompiledSubscription, ns: string, reason: ParkReason, detail: string, index: number): void;
  countUnknown(op: string): void;
  countFiltered(): void;
}

/** Where a command stands: `head` is its own, `entry` that of the entry it came in; they differ inside `applyOps`. */
export interface Place {
  readonly head: EntryHead;
  readonly entry: EntryHead;
  readonly index: number;
  /** The operations around it are a transaction's. */
  readonly transaction: boolean;
}

/** What this server's events show, whoever asked for them. */
export type ServerShown = Omit<Shown, 'expanded'>;

export class Commands {
  readonly #router: Router;
  readonly #sink: CommandSink;
  #bytes: Uint8Array = new Uint8Array(0);
  #shown: ServerShown = { wallTime: true, nsType: false };

  constructor(router: Router, sink: CommandSink) {
    this.#router = router;
    this.#sink = sink;
  }

  /** Called for each batch, before anything else. */
  reset(bytes: Uint8Array, shown: ServerShown): void {
    this.#bytes = bytes;
    this.#shown = shown;
  }

  /** An entry's command, or one inside `applyOps`. */
  command(place: Place, name: CommandName = commandName(this.#bytes, place.head)): void {
    const command = readCommand(this.#bytes, place.head, name);
    if (command === 'silent') return;
    if (command === 'unknown') this.#unknown(place, name);
    else {
      this.#event(command, place);
      if (command.operation === 'rename') this.#resync(command, place);
    }
  }

  /** One whose event is there already, without and with what only expanded events show. */
  given(command: Command, place: Place, documentOf: (expanded: boolean) => Uint8Array): void {
    this.#event(command, place, documentOf);
    if (command.operation === 'rename') this.#resync(command, place);
  }

  shardingNoop(head: EntryHead): void {
    const command = readShardingNoop(this.#bytes, head);
    if (command) this.#event(command, { head, entry: head, index: 0, transaction: false });
  }

  /** A change of `system.views`. */
  view(place: Place): void {
    const command = readViewChange(this.#bytes, place.head);
    if (command) this.#event(command, place);
  }

  #event(command: Command, place: Place, given?: (expanded: boolean) => Uint8Array): void {
    const { operation, db, coll, to } = command;
    const shown = isInternal(db, coll) ? to !== undefined && !isInternal(to.db, to.coll) : true;
    if (!shown) return;
    const ns = coll === '' ? db : `${db}.${coll}`;
    const home = this.#route(ns);
    let wanted = false;
    /** Without and with what only expanded events show. */
    const documents: (Uint8Array | undefined)[] = [undefined, undefined];
    for (const subscription of this.#router.subscriptions) {
      if (!subscription.operations.has(operation) || (command.view && !subscription.expanded)) continue;
      const names = concerned(subscription, command, ns);
      if (names === undefined) continue;
      wanted = true;
      const expanded = subscription.expanded ? 1 : 0;
      const document = (documents[expanded] ??=
        given?.(subscription.expanded) ??
        commandDocument(this.#bytes, { command, ...place }, { ...this.#shown, expanded: subscription.expanded }));
      const partitions = operation === 'dropDatabase' ? 'all' : this.#partitions(names);
      this.#deliver({ type: operation, document, subscription, index: place.index, route: home, partitions });
    }
    if (!wanted) this.#sink.countFiltered();
  }

  /**
   * A collection that a subscription follows was replaced as a whole by one that it does not follow, or that the server filled
   * for this: no events lead from what was there to what is there now. Nobody has to ask to be told.
   */
  #resync({ db, coll, to }: Command, { entry, index }: Place): void {
    if (!to || isInternal(to.db, to.coll)) return;
    const ns = `${to.db}.${to.coll}`;
    const home = this.#route(ns);
    for (const subscription of this.#router.subscriptions) {
      if (!subscription.matches(ns)) continue;
      if (subscription.matches(`${db}.${coll}`) && !isSwap(coll)) continue;
      const document = resyncDocument(this.#bytes, { ...to, from: { db, coll } }, entry, {
        ...this.#shown,
        expanded: subscription.expanded,
      });
      const partitions = this.#partitions([ns]);
      this.#deliver({ type: 'resync', document, subscription, index: index + 1, route: home, partitions });
    }
  }

  #deliver({
    type,
    document,
    subscription,
    index,
    route,
    partitions,
  }: {
    type: MessageType;
    document: Uint8Array;
    subscription: CompiledSubscription;
    index: number;
    route: Route;
    partitions: 'all' | ReadonlySet<number>;
  }): void {
    const sink = this.#sink;
    const count = this.#router.partitions;
    const first = subscription.index * count;
    const home = first + toPartition(route.hash, count);
    // Then nothing of it is left to do, and what lies behind it was already let through.
    if (sink.isConfirmed(home, index)) return;
    const lanes = new Set([home]);
    for (let p = 0; p < count; p++) if (partitions === 'all' || partitions.has(p)) lanes.add(first + p);
    const before = sink.newGate(lanes.size);
    for (const lane of lanes) sink.addGate(lane, before, true);
    sink.addDocument({ type, document, subscription: subscription.index, lane: home, index, route });
    const behind = sink.newGate(1);
    for (const lane of lanes) sink.addGate(lane, behind, lane === home);
  }

  /** Those that may hold changes of these collections. */
  #partitions(names: readonly string[]): 'all' | ReadonlySet<number> {
    const partitions = new Set<number>();
    for (const ns of names) {
      const { partition } = this.#route(ns);
      if (partition < 0) return 'all';
      partitions.add(partition);
    }
    return partitions;
  }

  #route(ns: string): Route {
    const bytes = encodeText(ns);
    return this.#router.route(bytes, 0, bytes.length);
  }

  #unknown({ head, index }: Place, { name, type, value }: CommandName): void {
    const bytes = this.#bytes;
    const commandNs = decodeText(bytes, head.nsStart, head.nsEnd);
    const db = commandNs.slice(0, Math.max(0, commandNs.indexOf('.')));
    const coll = type === BsonType.string ? decodeText(bytes, value + 4, value + 3 + readInt32(bytes, value)) : '';
    if (isInternal(db, coll)) return;
    this.#sink.countUnknown(`c:${name.slice(0, 32)}`);
    for (const subscription of this.#router.subscriptions) {
      if (!subscription.matches(`${db}.${coll}`)) continue;
      this.#sink.park(subscription, `${db}.${coll}`, 'unknown-op', `the command ${name}`, index);
    }
  }
}

/** The names among a command's that the subscription follows; undefined when there is none. */
function concerned(
  subscription: CompiledSubscription,
  { operation, db, to }: Command,
  ns: string,
): string[] | undefined {
  if (operation === 'dropDatabase') return follows(subscription, db) ? [] : undefined;
  const names = to ? [ns, `${to.db}.${to.coll}`] : [ns];
  const followed = names.filter((name) => subscription.matches(name));
  return followed.length > 0 ? followed : undefined;
}

/** Whether any collection of the database could be one of the subscription's. */
function follows({ namespaces }: CompiledSubscription, db: string): boolean {
  return overlapOf(splitPatterns(namespaces), { includes: [`${db}.*`], excludes: [] }) !== undefined;
}
