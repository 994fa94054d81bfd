/**
 * `transactionBegin` and `transactionEnd` for the subscriptions that ask for them: in each lane that carries any operation of a
 * transaction, before its first one there and after its last, the end with what the subscription was given of it in all lanes.
 * A transaction that comes in pieces hands its tally on from one to the next.
 */
import { BSON } from 'bson';
import { BEGIN_INDEX, END_INDEX } from './protocol.ts';
import { documentLast, malformed, readBigInt64 } from './bson.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import type { EntryHead } from './entry.ts';
import type { TransactionTally } from './protocol.ts';
import type { Route } from './route.ts';
import type { DocumentRow } from './rows.ts';

export class TransactionEvents {
  /** By lane: the namespace of its first operation, which routes its begin and its end. */
  readonly #begun = new Map<number, Route>();
  /** By subscription, by namespace. */
  readonly #counts = new Map<number, Map<string, number>>();

  /** `routeOf`: by a namespace's name. */
  reset(tally: TransactionTally | undefined, routeOf: (ns: string) => Route): void {
    this.#begun.clear();
    this.#counts.clear();
    for (const { lane, ns } of tally?.begun ?? []) this.#begun.set(lane, routeOf(ns));
    for (const { subscription, ns, operations } of tally?.counts ?? []) this.#add(subscription, ns, operations);
  }

  get tally(): TransactionTally {
    return {
      begun: [...this.#begun].map(([lane, { ns }]) => ({ lane, ns })),
      counts: [...this.#counts].flatMap(([subscription, counts]) =>
        [...counts].map(([ns, operations]) => ({ subscription, ns, operations })),
      ),
    };
  }

  /** Counts an operation; true when it is its lane's first, and a begin belongs before it. */
  count(subscription: number, lane: number, route: Route): boolean {
    this.#add(subscription, route.ns, 1);
    if (this.#begun.has(lane)) return false;
    this.#begun.set(lane, route);
    return true;
  }

  begin({ bytes, head, wallTime, lane, subscription, route }: EventOptions): DocumentRow {
    const document = written({ operationType: 'transactionBegin', ...common(bytes, head, wallTime) });
    return { type: 'transactionBegin', document, subscription, lane, index: BEGIN_INDEX, route };
  }

  *ends(
    { bytes, head, wallTime }: Pick<EventOptions, 'bytes' | 'head' | 'wallTime'>,
    partitions: number,
  ): Generator<DocumentRow> {
    for (const [lane, route] of this.#begun) {
      const subscription = Math.floor(lane / partitions);
      const namespaces = [...(this.#counts.get(subscription) ?? [])].map(([ns, operations]) => {
        const dot = ns.indexOf('.');
        return { db: ns.slice(0, dot), coll: ns.slice(dot + 1), operations };
      });
      const operations = namespaces.reduce((sum, one) => sum + one.operations, 0);
      const document = written({
        operationType: 'transactionEnd',
        ...common(bytes, head, wallTime),
        operations,
        namespaces,
      });
      yield { type: 'transactionEnd', document, subscription, lane, index: END_INDEX, route };
    }
  }

  #add(subscription: number, ns: string, operations: number): void {
    let counts = this.#counts.get(subscription);
    if (!counts) this.#counts.set(subscription, (counts = new Map()));
    counts.set(ns, (counts.get(ns) ?? 0) + operations);
  }
}

interface EventOptions {
  readonly bytes: Uint8Array;
  /** The entry's. */
  readonly head: EntryHead;
  readonly wallTime: boolean;
  readonly lane: number;
  readonly subscription: number;
  readonly route: Route;
}

function common(bytes: Uint8Array, head: EntryHead, wallTime: boolean): object {
  const lsid = bytes.subarray(head.lsid, documentLast(bytes, head.lsid, head.last) + 1);
  return {
    clusterTime: new BSON.Timestamp({ t: tsSeconds(bytes, head.ts), i: tsIncrement(bytes, head.ts) }),
    ...(wallTime && head.wall >= 0 && { wallTime: dateOf(readBigInt64(bytes, head.wall)) }),
    lsid: sessionOf(lsid),
    txnNumber: BSON.Long.fromBigInt(readBigInt64(bytes, head.txnNumber)),
  };
}

/** js-bson refuses what is damaged, on both ways, with errors of its own, which would be the whole batch's. */
function sessionOf(lsid: Uint8Array): BSON.Document {
  try {
    return BSON.deserialize(lsid, { promoteValues: false, promoteBuffers: false });
  } catch {
    return malformed('a session id that is no document');
  }
}

function written(event: object): Uint8Array {
  try {
    return BSON.serialize(event);
  } catch {
    return malformed('a session id that no event can carry');
  }
}

function dateOf(ms: bigint): Date {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? malformed('a time that no date can be') : date;
}
