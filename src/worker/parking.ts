/**
 * What a batch sets aside: one record per event and subscription, each with the raw entry. An entry's bytes are copied once,
 * however many records need them, and so cross to the main thread once.
 */
import { copyBytes, readInt32 } from './bson.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import { eventIdTail } from './protocol.ts';
import type { ParkReason, ParkedEvent } from './protocol.ts';

export interface Parked {
  readonly subscription: number;
  /** Where the entry's `ts` lies, -1 when it cannot be read. */
  readonly ts: number;
  readonly index: number;
  readonly ns: string;
  readonly reason: ParkReason;
  readonly detail: string;
  readonly entryStart: number;
  readonly entryEnd: number;
  /** What is set aside instead of the entry, where the entry may not be seen; it may have no bytes. */
  readonly event?: Uint8Array | undefined;
  readonly partition?: number;
  readonly whole?: boolean;
  readonly firstIndex?: number | undefined;
}

/** Behind the reason why an event is parked without its bytes. */
const NOT_KEPT = '; its bytes are not kept, because what `fields` and `mask` hide could not be taken out of them';

export class Parking {
  readonly #source: string;
  #bytes: Uint8Array = new Uint8Array(0);
  #copies = new Map<number, Uint8Array>();
  records: ParkedEvent[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  reset(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#copies = new Map();
    this.records = [];
  }

  park(parked: Parked): void {
    const { subscription, ts, index, ns, reason, detail, entryStart, entryEnd, event } = parked;
    const bytes = this.#bytes;
    const origin = {
      ...(parked.partition !== undefined && { partition: parked.partition }),
      ...(parked.whole === true && { whole: true as const }),
      ...(parked.firstIndex !== undefined && { firstIndex: parked.firstIndex }),
    };
    const id =
      ts >= 0
        ? `${this.#source}:${eventIdTail(tsSeconds(bytes, ts), tsIncrement(bytes, ts), index)}`
        : `${this.#source}:damaged.${fingerprint(bytes, entryStart, entryEnd)}.${index}`;
    if (event !== undefined) {
      const kept = event.length > 0 ? detail : `${detail}${NOT_KEPT}`;
      this.records.push({ subscription, id, ns, reason, detail: kept, entry: event, shaped: true, ...origin });
      return;
    }
    let entry = this.#copies.get(entryStart);
    if (entry === undefined) {
      entry = copyBytes(bytes, entryStart, entryEnd);
      this.#copies.set(entryStart, entry);
    }
    this.records.push({ subscription, id, ns, reason, detail, entry, ...origin });
  }
}

/** Names an entry whose position cannot be read; the same bytes get the same name after a restart. */
function fingerprint(bytes: Uint8Array, start: number, end: number): string {
  let h = 0x811c_9dc5 | 0;
  for (let at = start; at < end; at++) h = Math.imul(h ^ bytes[at]!, 0x0100_0193);
  return `${(h >>> 0).toString(16)}.${readInt32(bytes, start)}`;
}
