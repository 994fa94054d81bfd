/** Reads queues dry, and holds what came against what had to come. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Change } from './history.ts';

/** The events' ids of one queue in the order they lie there, without the source's name. */
export async function readDry(uri: string, queue: string): Promise<string[]> {
  return (await readMessages(uri, queue)).flat();
}

/** Looks, 100 ms apart, at which nothing came and the broker had no more. */
const QUIET_LOOKS = 5;
/**
 * The same where events are missing: of a quorum queue whose leader is too busy to answer, RabbitMQ says that it is empty
 * (`rabbit_quorum_queue:stat`).
 */
const QUIET_LOOKS_SHORT = 150;

/** The same, message by message; `expected`: so many events at least should be there. */
export async function readMessages(uri: string, queue: string, expected = 0): Promise<string[][]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    await channel.prefetch(2_000);
    const messages: string[][] = [];
    let events = 0;
    let last: Parameters<typeof channel.ack>[0] | undefined;
    await channel.consume(queue, (message) => {
      if (!message) return;
      const ids = idsIn(message.content, message.properties.contentType as string);
      messages.push(ids);
      events += ids.length;
      last = message;
      if (messages.length % 500 === 0) channel.ack(message, true);
    });
    // Not by silence alone: a busy machine may be silent for seconds with half of the messages still to come.
    for (let quiet = 0, before = 0; quiet < (events < expected ? QUIET_LOOKS_SHORT : QUIET_LOOKS);) {
      await sleep(100);
      const { messageCount } = await channel.checkQueue(queue);
      quiet = messageCount === 0 && messages.length === before ? quiet + 1 : 0;
      before = messages.length;
    }
    if (last && messages.length % 500 !== 0) channel.ack(last, true);
    await channel.close();
    return messages;
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

/** The events' ids of one message, without the source's name. */
export function idsIn(content: Buffer, contentType: string): string[] {
  const text = content.toString();
  const lines = contentType === 'application/x-ndjson' ? text.trimEnd().split('\n') : [text];
  return lines.map((line) => {
    const { _id: id } = JSON.parse(line) as { _id: string };
    return id.slice(id.indexOf(':') + 1);
  });
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

/**
 * How many of the messages that each life of an engine sent held something that a life before it had sent. `ends[k]`: how many
 * messages lay in the queue when life k had ended.
 */
export function repeatsPerLife(messages: readonly (readonly string[])[], ends: readonly number[]): number[] {
  const seen = new Set<string>();
  return [...ends, messages.length].map((end, life) => {
    const sent = messages.slice(life === 0 ? 0 : ends[life - 1], end);
    const repeated = sent.filter((ids) => ids.some((id) => seen.has(id))).length;
    for (const ids of sent) for (const id of ids) seen.add(id);
    return repeated;
  });
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
