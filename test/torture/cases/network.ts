/** What happens between the engine and either end: links that are cut, stall, crawl, or end in the middle of a frame. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Direction, Proxy } from '../../servers/index.ts';
import { beginBehind, proxyTo } from '../behind.ts';
import { RESET_CASES } from './network-resets.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';
import type { Far } from '../behind.ts';

type Linked = (arena: Arena, far: Far) => Promise<Outcome>;

const both = (name: (far: Far) => string, run: Linked): TortureCase[] =>
  (['RabbitMQ', 'MongoDB'] as const).map((far) => ({
    end: 'network',
    name: name(far),
    ...(far === 'RabbitMQ' && { versionsOf: far }),
    run: async (arena) => run(arena, far),
  }));

export const NETWORK_CASES: readonly TortureCase[] = [
  ...both((far) => `connections to ${far} cut under full load`, cut),
  ...both(
    (far) => `${far} half-open, silent both ways`,
    async (arena, far) => silent(arena, { far, ways: [undefined] }),
  ),
  ...both(
    (far) => `${far} half-open, silent one way`,
    async (arena, far) =>
      silent(arena, {
        far,
        ways: arena.pick<Direction[]>([arena.random.pick(['toServer', 'toClient'])], ['toServer', 'toClient']),
      }),
  ),
  ...both(
    (far) => `500 ms to ${far}`,
    async (arena, far) => slow(arena, { far, slowness: { delayMs: 500 } }),
  ),
  ...both(
    (far) => `1 % of chunks 200 ms late, ${far}`,
    async (arena, far) => slow(arena, { far, slowness: { lateChance: 0.01, lateMs: 200 } }),
  ),
  ...both((far) => `64 kbit/s to ${far}`, narrow),
  ...RESET_CASES,
];

async function cut(arena: Arena, far: Far): Promise<Outcome> {
  await using proxy = await proxyTo(arena, far);
  await using trial = await beginBehind(arena, {
    far,
    proxy,
    backlog: arena.pick(30_000, 1_000_000),
    eventsPerSecond: 5_000,
  });
  const cuts = arena.pick(5, 100);
  for (let n = 0; n < cuts; n++) await trial.strike(async () => proxy.cut());
  return await trial.verdict({ repeats: far === 'RabbitMQ' ? cuts * trial.underWay : 0 });
}

/** `undefined`: both ways. */
async function silent(
  arena: Arena,
  { far, ways }: { readonly far: Far; readonly ways: readonly (Direction | undefined)[] },
): Promise<Outcome> {
  await using proxy = await proxyTo(arena, far);
  await using trial = await beginBehind(arena, { far, proxy, backlog: 10_000 });
  for (const way of ways) {
    await trial.strike(async () => {
      proxy.pause(way);
      if (far === 'MongoDB') await trial.untilNotReady(/source "src" /);
      else {
        await trial.untilNotReady(/no confirm for|sink "mq" is not connected/);
        // It is given up, and not only waited for.
        await trial.untilNotReady(/sink "mq" is not connected/, 30_000);
      }
      await sleep(arena.pick(0, 20_000));
      proxy.resume();
    });
    await trial.untilReady();
  }
  return await trial.verdict({ repeats: far === 'RabbitMQ' ? ways.length * trial.underWay : 0 });
}

async function slow(
  arena: Arena,
  { far, slowness }: { readonly far: Far; readonly slowness: Parameters<Proxy['slow']>[0] },
): Promise<Outcome> {
  await using proxy = await proxyTo(arena, far);
  proxy.slow(slowness);
  await using trial = await beginBehind(arena, { far, proxy, backlog: 10_000 });
  // All of it is only slow, and nothing is to be given up for that.
  await trial.untilReady();
  await sleep(arena.pick(3_000, 30_000));
  await trial.untilReady();
  const reconnects = await trial.engine.metric('tailrace_reconnects_total');
  if (reconnects > 0) throw new Error(`${reconnects} connections were given up: ${trial.engine.log()}`);
  await trial.strike(async () => proxy.slow(undefined));
  return await trial.verdict({ repeats: 0 });
}

/** Less than is written: what waits on the way takes longer than a confirm may. */
async function narrow(arena: Arena, far: Far): Promise<Outcome> {
  const seconds = arena.pick(5, 75);
  await using proxy = await proxyTo(arena, far);
  proxy.slow({ bytesPerSecond: 8_000 });
  // All of a backlog comes in one reply, and nothing flows before it is there.
  await using trial = await beginBehind(arena, { far, proxy, backlog: 100, eventsPerSecond: 50 });
  await sleep(seconds * 1_000);
  await trial.strike(async () => proxy.slow(undefined));
  await trial.untilReady();
  // A confirm counts as overdue after 30 s.
  return await trial.verdict({ repeats: far === 'RabbitMQ' ? Math.floor(seconds / 30) * trial.underWay : 0 });
}
