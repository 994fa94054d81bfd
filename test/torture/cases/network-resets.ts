/**
 * Connections that are reset after N bytes, for an N in every moment of the protocols: in the greeting, while logging in, between
 * and within the frames that open channels and declare queues, in the middle of a message, of a confirm, of a reply with many
 * entries. One engine lives through all of them: the first connection after a cut ends at its N, and the next one passes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../harness/engine-process.ts';
import type { Direction, Reset } from '../../servers/index.ts';
import { beginBehind, proxyTo } from '../behind.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const RESET_CASES: readonly TortureCase[] = [
  { end: 'network', name: 'reset after N bytes, RabbitMQ', versionsOf: 'RabbitMQ', run: resetToBroker },
  { end: 'network', name: 'reset after N bytes, MongoDB', run: resetToMongo },
];

/** What a connection has said until messages flow: about 1,100 bytes from the broker and 2,000 to it. */
const AMQP_BYTES = { toClient: 2_000, toServer: 4_000 };
/** Of a driver's connection until the cursor is open. */
const MONGO_BYTES = { toClient: 6_000, toServer: 3_000 };

/** `count` each way, spread evenly, in an order that chance decides. */
function resets(arena: Arena, upTo: Readonly<Record<Direction, number>>, count: number): Reset[] {
  const all = (['toClient', 'toServer'] as const).flatMap((direction) =>
    Array.from({ length: count }, (_, n) => ({
      direction,
      bytes: Math.floor(((n + arena.random.next()) / count) * upTo[direction]),
    })),
  );
  return all.toSorted(() => arena.random.next() - 0.5);
}

async function resetToBroker(arena: Arena): Promise<Outcome> {
  await using proxy = await proxyTo(arena, 'RabbitMQ');
  await using trial = await beginBehind(arena, {
    far: 'RabbitMQ',
    proxy,
    shape: { window: 32 },
    config: { sink: { connections: 1 } },
  });
  let faults = 0;
  for (const reset of resets(arena, AMQP_BYTES, arena.pick(7, 40))) {
    const done = proxy.resets;
    await trial.strike(async () => {
      proxy.resetNext([reset]);
      proxy.cut();
      await until('the connection is reset', () => proxy.resets > done);
    });
    faults += 2;
  }
  for (let n = 0; n < arena.pick(1, 4); n++) {
    // In the middle of closing, and of the first connection of a life.
    const exit = trial.engine.terminate();
    await sleep(arena.random.between(0, 100));
    proxy.cut();
    if ((await exit) !== 0)
      throw new Error(`a cut while it stopped ended it with ${await exit}: ${trial.engine.log()}`);
    const done = proxy.resets;
    proxy.resetNext(resets(arena, AMQP_BYTES, 1));
    await trial.strike(async () => {
      trial.start();
      await until('the connection is reset', () => proxy.resets > done);
    });
    faults += 3;
  }
  proxy.resetNext([]);
  return await trial.verdict({ repeats: faults * trial.underWay });
}

async function resetToMongo(arena: Arena): Promise<Outcome> {
  await using proxy = await proxyTo(arena, 'MongoDB');
  await using trial = await beginBehind(arena, { far: 'MongoDB', proxy });
  const count = arena.pick(6, 30);
  const large = Array.from({ length: arena.pick(2, 10) }, () => ({
    direction: 'toClient' as const,
    bytes: arena.random.between(MONGO_BYTES.toClient, 300_000),
  }));
  for (const reset of [...resets(arena, MONGO_BYTES, count), ...large]) {
    const done = proxy.resets;
    await trial.strike(async () => {
      // A driver has several connections, and only some of them come as far as that.
      proxy.resetNext([reset, reset, reset].slice(0, arena.random.between(1, 3)).map((one) => ({ ...one })));
      proxy.cut();
      await until('a connection is reset', () => proxy.resets > done, 2_000).catch(() => undefined);
      proxy.resetNext([]);
    });
  }
  return await trial.verdict({ repeats: 0 });
}
