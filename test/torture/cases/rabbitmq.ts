/** What happens to the broker and to our connections: it dies, restarts, closes, forgets. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Trial } from '../trial.ts';
import { REFUSAL_CASES } from './rabbitmq-refusals.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

const it = (name: string, run: TortureCase['run']): TortureCase => ({
  end: 'RabbitMQ',
  name,
  versionsOf: 'RabbitMQ',
  run,
});

export const RABBITMQ_CASES: readonly TortureCase[] = [
  it('clean restart', restarted),
  it('SIGKILL', killed),
  it('an empty broker comes back', wiped),
  it('heartbeats missed: the broker stands still', stalled),
  it('connections closed by the server (320)', connectionsClosed),
  it('channels that die in the server (541)', channelsDie),
  it('virtual host deleted and made again', vhostDeleted),
  ...REFUSAL_CASES,
];

async function restarted(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  const times = arena.pick(1, 3);
  for (let n = 0; n < times; n++) await trial.strike(async () => rabbit.restart());
  return await trial.verdict({ repeats: times * trial.underWay });
}

async function killed(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  const times = arena.pick(1, 3);
  for (let n = 0; n < times; n++) {
    // A quorum queue that is killed within its first moments does not work again by itself, whoever publishes to it.
    await sleep(4_000);
    await trial.strike(async () => {
      await rabbit.kill();
      await trial.untilNotReady(/sink "mq" is not connected/);
      await rabbit.restart();
    });
    await trial.untilReady();
  }
  return await trial.verdict({ repeats: times * trial.underWay });
}

async function wiped(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit({});
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: 10_000,
    shape: { maxEvents: 1 },
  });
  const times = arena.pick(1, 2);
  let gone = 0;
  await trial.strikes(times, async () => {
    await rabbit.wipe();
    await trial.untilNotReady(/sink "mq" is not connected/);
    gone = await trial.confirmed();
    await rabbit.restart();
  });
  return await trial.verdict({ repeats: times * trial.underWay, gone });
}

async function stalled(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  await trial.strike(async () => {
    process.kill(-rabbit.pid, 'SIGSTOP');
    try {
      await trial.untilNotReady(/no confirm for|is not connected/);
      await trial.untilNotReady(/sink "mq" is not connected: .*heartbeat/i);
      await sleep(arena.pick(0, 30_000));
    } finally {
      process.kill(-rabbit.pid, 'SIGCONT');
    }
  });
  await trial.untilReady();
  return await trial.verdict({ repeats: trial.underWay });
}

async function connectionsClosed(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  const times = arena.pick(2, 8);
  for (let n = 0; n < times; n++) await trial.strike(async () => rabbit.closeConnections('an operator says so'));
  return await trial.verdict({ repeats: times * trial.underWay });
}

/** What a fault inside the broker looks like from outside: INTERNAL_ERROR. */
async function channelsDie(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, rabbit, backlog: 10_000 });
  const times = arena.pick(2, 8);
  for (let n = 0; n < times; n++) {
    await trial.strike(async () => rabbit.ctl(['eval', '[exit(P, kill) || P <- rabbit_channel:list_local()].']));
  }
  if (!trial.engine.log().includes('541')) throw new Error(`no 541 was seen: ${trial.engine.log()}`);
  return await trial.verdict({ repeats: times * trial.underWay });
}

async function vhostDeleted(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  const vhost = arena.uniqueName();
  const create = async (): Promise<void> => {
    await rabbit.ctl(['add_vhost', vhost]);
    await rabbit.ctl(['set_permissions', '-p', vhost, 'guest', '.*', '.*', '.*']);
  };
  await create();
  await using trial = await Trial.begin({
    arena,
    rabbit: { uri: `${rabbit.uri}/${vhost}` },
    shape: { maxEvents: 1 },
  });
  const times = arena.pick(1, 2);
  let gone = 0;
  await trial.strikes(times, async () => {
    await rabbit.ctl(['delete_vhost', vhost]);
    await trial.untilNotReady(/sink "mq" is not connected: .*virtual host/);
    gone = await trial.confirmed();
    await create();
  });
  const outcome = await trial.verdict({ repeats: times * trial.underWay, order: 'last', gone });
  await rabbit.ctl(['delete_vhost', vhost]);
  return outcome;
}
