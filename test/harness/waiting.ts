/** What tests of a running engine wait for, asked of it over HTTP as an operator would. */
import type { Change } from './history.ts';
import { until } from './engine-process.ts';
import type { EngineProcess } from './engine-process.ts';
import type { StatusReport } from '../../src/observe/status.ts';

/** Its starts are stored and it reads: what is written from now on is delivered even with `start: latest`. */
export async function untilReading(engine: EngineProcess): Promise<void> {
  await until('the engine reads', async () =>
    Object.values((await engine.status()).subscriptions).every(({ state }) => state === 'flowing'),
  );
}

/** Everything up to the last of these changes is confirmed, or parked, for each of these subscriptions (for all, if none is named). */
export async function untilDelivered(
  engine: EngineProcess,
  changes: readonly Change[],
  { subscriptions, withinMs = 60_000 }: { subscriptions?: readonly string[]; withinMs?: number } = {},
): Promise<void> {
  const last = opTimeOf(changes.at(-1)!.id, '.');
  let seen: unknown;
  const delivered = until(
    `everything up to ${last.join(':')} is delivered`,
    async () => {
      seen = await engine.status();
      const status = (seen as StatusReport).subscriptions;
      return (subscriptions ?? Object.keys(status)).every((name) => {
        const { watermark } = status[name]!;
        if (watermark === null) return false;
        const [seconds, increment] = opTimeOf(watermark, ':');
        return seconds > last[0] || (seconds === last[0] && increment >= last[1]);
      });
    },
    withinMs,
  );
  await delivered.catch((error: unknown) => {
    throw new Error(`${String(error)}; the engine's state: ${JSON.stringify(seen)}\n${engine.log().slice(-3_000)}`);
  });
}

/** Milliseconds from now until the broker has confirmed something more. */
export async function untilFlowing(engine: EngineProcess, withinMs = 30_000): Promise<number> {
  const began = performance.now();
  const before = await confirmed(engine);
  await until('messages flow again', async () => (await confirmed(engine)) > before, withinMs);
  return Math.round(performance.now() - began);
}

export async function confirmed(engine: EngineProcess): Promise<number> {
  return await engine.metric('tailrace_messages_confirmed_total');
}

function opTimeOf(text: string, separator: '.' | ':'): [seconds: number, increment: number] {
  const [seconds, increment] = text.split(separator).map(Number);
  return [seconds!, increment!];
}
