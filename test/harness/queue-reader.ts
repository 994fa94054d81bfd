/** Reads queues dry, and holds what came against what had to come. */
import { connect } from 'amqplib';
import type { Change } from './history.ts';

/** The events' ids of one queue in the order they lie there, without the source's name. */
export async function readDry(uri: string, queue: string): Promise<string[]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    await channel.prefetch(2_000);
    const { messageCount } = await channel.checkQueue(queue);
    const ids: string[] = [];
    let messages = 0;
    let last: Parameters<typeof channel.ack>[0] | undefined;
    if (messageCount > 0) {
      await new Promise<void>((resolve, reject) => {
        connection.on('error', reject);
        // Nothing came for a while: what was counted as there may have been on its way out.
        let idle = setTimeout(resolve, 10_000);
        const onMessage = (message: Parameters<typeof channel.ack>[0] | null): void => {
          if (!message) return;
          clearTimeout(idle);
          idle = setTimeout(resolve, 2_000);
          collectIds(message.content, message.properties.contentType as string, ids);
          messages += 1;
          last = message;
          if (messages % 500 === 0) channel.ack(message, true);
          if (messages >= messageCount) {
            clearTimeout(idle);
            resolve();
          }
        };
        channel.consume(queue, onMessage).catch(reject);
      });
    }
    if (last && messages % 500 !== 0) channel.ack(last, true);
    await channel.close();
    return ids;
  } finally {
    await connection.close().catch(() => {});
  }
}

/** How many messages lie in the queue. */
export async function countMessages(uri: string, queue: string): Promise<number> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    return (await channel.checkQueue(queue)).messageCount;
  } finally {
    await connection.close().catch(() => {});
  }
}

function collectIds(content: Buffer, contentType: string, into: string[]): void {
  const lines =
    contentType === 'application/x-ndjson' ? content.toString().trimEnd().split('\n') : [content.toString()];
  for (const line of lines) {
    const { _id: id } = JSON.parse(line) as { _id: string };
    into.push(id.slice(id.indexOf(':') + 1));
  }
}

export interface Verdict {
  readonly missing: readonly string[];
  /** Arrived though nobody wrote them. */
  readonly unknown: readonly string[];
  /** First deliveries that came after the first delivery of a later change of the same key. */
  readonly firstOutOfOrder: readonly string[];
  /** The same for last deliveries. */
  readonly lastOutOfOrder: readonly string[];
  readonly repeated: number;
}

/** `key`: what order is promised within: the namespace, or the document. `received`: one queue, or several that share no key. */
export function judge(
  expected: readonly Change[],
  received: readonly string[],
  key: (change: Change) => string,
): Verdict {
  const places = new Map(expected.map((change, place) => [change.id, place]));
  const unknown = received.filter((id) => !places.has(id));
  const known = received.filter((id) => places.has(id));
  const seen = new Set(known);
  return {
    missing: expected.filter(({ id }) => !seen.has(id)).map(({ id }) => id),
    unknown,
    firstOutOfOrder: outOfOrder([...seen], expected, places, key),
    lastOutOfOrder: outOfOrder([...new Set(known.toReversed())].toReversed(), expected, places, key),
    repeated: known.length - seen.size,
  };
}

function outOfOrder(
  ids: readonly string[],
  expected: readonly Change[],
  places: ReadonlyMap<string, number>,
  key: (change: Change) => string,
): string[] {
  const newest = new Map<string, number>();
  const wrong: string[] = [];
  for (const id of ids) {
    const place = places.get(id)!;
    const of = key(expected[place]!);
    if (place < (newest.get(of) ?? -1)) wrong.push(id);
    else newest.set(of, place);
  }
  return wrong;
}
