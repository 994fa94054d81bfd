/** Reads queues dry, and holds what came against what had to come. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Change } from './history.ts';

/** The events' ids of one queue in the order they lie there, without the source's name. */
export async function readDry(uri: string, queue: string): Promise<string[]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    await channel.prefetch(2_000);
    const ids: string[] = [];
    let messages = 0;
    let last: Parameters<typeof channel.ack>[0] | undefined;
    await channel.consume(queue, (message) => {
      if (!message) return;
      collectIds(message.content, message.properties.contentType as string, ids);
      messages += 1;
      last = message;
      if (messages % 500 === 0) channel.ack(message, true);
    });
    // Not by silence alone: a busy machine may be silent for seconds with half of the messages still to come.
    for (let quiet = 0, before = 0; quiet < 3;) {
      await sleep(100);
      const { messageCount } = await channel.checkQueue(queue);
      quiet = messageCount === 0 && messages === before ? quiet + 1 : 0;
      before = messages;
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

/** Throws unless everything arrived, once at least and in order: with a few examples, where thousands may be wrong. */
export function assertKept({ missing, unknown, firstOutOfOrder, lastOutOfOrder }: Verdict): void {
  const wrong = Object.entries({ missing, unknown, firstOutOfOrder, lastOutOfOrder }).flatMap(([what, ids]) =>
    ids.length === 0 ? [] : `${ids.length} ${what}: ${ids.slice(0, 5).join(', ')} …`,
  );
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
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
