/** The server's own change stream over the whole deployment, its events as the bytes that the server sent. */
import { Long } from 'bson';
import type { Timestamp } from 'bson';
import { elementsOf } from './bson.ts';
import { placeInToken } from './resume-token.ts';
import type { EventPlace } from './resume-token.ts';
import { Wire } from './wire.ts';

export interface ListenedEvent {
  readonly place: EventPlace;
  readonly bytes: Uint8Array;
  /** `operationType`. */
  readonly kind: string;
}

export class ServerListener implements AsyncDisposable {
  readonly #wire: Wire;
  readonly #cursor: Long;
  #pending: ListenedEvent[];

  private constructor(wire: Wire, cursor: Long, first: ListenedEvent[]) {
    this.#wire = wire;
    this.#cursor = cursor;
    this.#pending = first;
  }

  static async open(
    uri: string,
    { after, expanded }: { after: Timestamp; expanded: boolean },
  ): Promise<ServerListener> {
    const wire = await Wire.open(uri);
    const stage = {
      allChangesForCluster: true,
      startAtOperationTime: after,
      ...(expanded ? { showExpandedEvents: true } : {}),
    };
    const reply = await wire.raw('admin', {
      aggregate: 1,
      pipeline: [{ $changeStream: stage }],
      cursor: {},
      readConcern: { level: 'majority' },
    });
    const { cursor, events } = read(reply);
    return new ServerListener(wire, cursor, events);
  }

  /** Everything up to (and with) the event of this time: something the caller has written. */
  async upTo(time: { readonly seconds: number; readonly increment: number }): Promise<ListenedEvent[]> {
    const taken: ListenedEvent[] = [];
    for (;;) {
      for (const [index, event] of this.#pending.entries()) {
        taken.push(event);
        const { seconds, increment } = event.place;
        if (seconds !== time.seconds || increment !== time.increment) continue;
        this.#pending = this.#pending.slice(index + 1);
        return taken;
      }
      const more = { getMore: this.#cursor, collection: '$cmd.aggregate', maxTimeMS: 1_000 };
      this.#pending = read(await this.#wire.raw('admin', more)).events;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#wire[Symbol.asyncDispose]();
  }
}

function read(reply: Buffer): { cursor: Long; events: ListenedEvent[] } {
  const top = elementsOf(reply);
  const cursor = top.find(({ name }) => name === 'cursor');
  if (cursor === undefined) {
    const message = top.find(({ name }) => name === 'errmsg');
    throw new Error(`the change stream fails: ${Buffer.from(message?.bytes.subarray(4, -1) ?? []).toString()}`);
  }
  const parts = elementsOf(cursor.bytes);
  const id = parts.find(({ name }) => name === 'id')!.bytes;
  const batch = parts.find(({ name }) => name === 'firstBatch' || name === 'nextBatch')!;
  return {
    cursor: Long.fromBytesLE([...id]),
    events: elementsOf(batch.bytes).map(({ bytes }) => ({
      bytes: Buffer.from(bytes),
      place: placeOf(bytes),
      kind: kindOf(bytes),
    })),
  };
}

function placeOf(event: Uint8Array): EventPlace {
  const token = elementsOf(event).find(({ name }) => name === '_id')!;
  const data = elementsOf(token.bytes).find(({ name }) => name === '_data')!;
  return placeInToken(Buffer.from(data.bytes.subarray(4, -1)).toString());
}

export function kindOf(event: Uint8Array): string {
  const kind = elementsOf(event).find(({ name }) => name === 'operationType');
  return Buffer.from(kind?.bytes.subarray(4, -1) ?? []).toString();
}
