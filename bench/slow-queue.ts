/**
 * Scenario: what a queue that is slow does to others of the same sink. Quick lanes publish small messages to queues of their
 * own, as fast as their confirms let them, while one more lane publishes to what is slow; over one connection, and over more.
 * The engine's own sink does the publishing, with the engine's window. What the slow queue costs the machine it costs either
 * way: what the connection does to the others is the difference between one and a connection for each.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../src/config/load.ts';
import { noLog } from '../src/library/no-log.ts';
import { AmqpSink } from '../src/sinks/amqp-sink.ts';
import { startRabbit } from '../test/servers/index.ts';
import type { SubscriptionConfig } from '../src/config/config.ts';
import type { LaneMessage, OpenPort } from '../src/lanes/port.ts';
import { deleteQueues } from './queues.ts';
import { environment, printHead, printTable, spreadOf, thousands, withSpread } from './report.ts';
import type { Environment, Spread } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

const QUICK = 4;
const SMALL_BYTES = 500;
const WINDOW = 256;
const COPIES = 100;
const CONNECTIONS = [1, QUICK, QUICK * 2];

/** What the slow lane publishes, and how its queues are. */
const KINDS = {
  none: { words: 'nothing', bytes: 0, queues: 0, type: 'classic' },
  large: { words: 'messages of 1 MiB, a classic queue', bytes: 1024 * 1024, queues: 1, type: 'classic' },
  quorum: { words: 'messages of 64 KiB, a quorum queue', bytes: 64 * 1024, queues: 1, type: 'quorum' },
  copies: {
    words: `small messages, each to ${COPIES} classic queues`,
    bytes: SMALL_BYTES,
    queues: COPIES,
    type: 'classic',
  },
} as const;
type Kind = keyof typeof KINDS;

interface Run {
  readonly kind: Kind;
  readonly type: string;
  readonly connections: number;
  /** Of all quick lanes, messages a second. */
  readonly quick: number;
  readonly slow: number;
}

interface SlowQueueResult extends Environment {
  readonly runs: readonly Run[];
}

const options = {
  seconds: { type: 'number', default: 5, words: 'how long each run is watched' },
  rounds: { type: 'number', default: 3, words: 'how often each runs' },
  only: { type: 'names', words: `only these: ${Object.keys(KINDS).join(', ')}` },
} as const;

export const slowQueue = scenario({
  words: 'what one slow queue does to the others of its sink, over one connection and over several',
  minutes: 5,
  options,
  run: measure,
});

async function measure({ seconds, rounds, only }: Values<typeof options>): Promise<SlowQueueResult> {
  const rabbit = await startRabbit({ fresh: false });
  try {
    const env = await environment({ amqpUri: rabbit.uri });
    printHead('A slow queue beside quick ones.', env, {
      Quick: `${QUICK} lanes, ${SMALL_BYTES} B a message, a queue each, ${WINDOW} unconfirmed a lane`,
      Watched: `${seconds} s, ${rounds} rounds, medians`,
    });
    const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => only.length === 0 || only.includes(kind));
    const runs: Run[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const type of ['classic', 'quorum']) {
        for (const kind of kinds) {
          for (const connections of CONNECTIONS) {
            runs.push(await one({ uri: rabbit.uri, kind, type, connections, seconds }));
          }
        }
      }
    }
    print(runs);
    return { ...env, runs };
  } finally {
    await rabbit.stop();
  }
}

interface Setting {
  readonly uri: string;
  readonly kind: Kind;
  readonly type: string;
  readonly connections: number;
  readonly seconds: number;
}

async function one({ uri, kind, type, connections, seconds }: Setting): Promise<Run> {
  const slow = KINDS[kind];
  const slowQueues = Array.from({ length: slow.queues }, (_, n) => `slow.${n}`);
  const config = await readConfig(
    {
      sources: { none: { uri: 'mongodb://localhost/?replicaSet=none' } },
      sinks: { rabbit: { uri, connections } },
      pipeline: { partitions: QUICK },
      subscriptions: [
        { name: 'quick', namespaces: ['*'], to: { queue: 'quick.{partition}', queueType: type } },
        {
          name: 'slow',
          namespaces: ['*'],
          to: { exchange: 'slow', queues: slowQueues.map((name) => ({ name, type: slow.type, bind: '#' })) },
        },
      ],
    },
    {},
  );
  const { subscriptions } = config;
  const meter = { reconnected: () => {} };
  const sink = new AmqpSink({ config: config.sinks[0]!, subscriptions, partitions: QUICK, log: noLog, meter });
  const stop = new AbortController();
  await sink.start(stop.signal);
  try {
    const lanes = await Promise.all(
      Array.from({ length: QUICK }, (_, p) => open(sink, subscriptions[0]!, p, `quick.${p}`, SMALL_BYTES)),
    );
    // The last: with a connection for each, it has its own.
    const other = slow.queues > 0 ? await open(sink, subscriptions[1]!, QUICK - 1, 'slow', slow.bytes) : undefined;
    await sleep(500);
    const before = { quick: sum(lanes), slow: other?.confirmed ?? 0, at: performance.now() };
    await sleep(seconds * 1_000);
    const took = (performance.now() - before.at) / 1_000;
    return {
      kind,
      type,
      connections,
      quick: (sum(lanes) - before.quick) / took,
      slow: ((other?.confirmed ?? 0) - before.slow) / took,
    };
  } finally {
    await sink.close();
    await deleteQueues(uri, [...Array.from({ length: QUICK }, (_, p) => `quick.${p}`), ...slowQueues]);
  }
}

const sum = (lanes: readonly Publisher[]): number => lanes.reduce((all, { confirmed }) => all + confirmed, 0);

interface Publisher {
  readonly confirmed: number;
}

/** Keeps the window full from now on. */
async function open(
  sink: AmqpSink,
  subscription: SubscriptionConfig,
  partition: number,
  routingKey: string,
  bytes: number,
): Promise<Publisher> {
  const message: LaneMessage = {
    body: Buffer.alloc(bytes, 'x'),
    routingKey,
    type: 'insert',
    messageId: 'bench:1795327615.1.0',
    events: 1,
    wallSeconds: 1_795_327_615,
  };
  const state = { confirmed: 0, sent: 0 };
  const pump = (port: OpenPort): void => {
    for (; port.ready && state.sent - state.confirmed < WINDOW; state.sent++) port.publish(message);
  };
  const port = await sink.lanePort(subscription).open(
    {
      partition,
      confirmed: (tag, multiple) => {
        state.confirmed = multiple ? Math.max(state.confirmed, tag) : state.confirmed + 1;
        pump(port);
      },
      refused: () => {},
      returned: () => {},
      writable: () => pump(port),
      closed: () => {},
    },
    new AbortController().signal,
  );
  pump(port);
  return state;
}

function print(runs: readonly Run[]): void {
  const rows = new Map<string, Run[]>();
  for (const run of runs) {
    const key = `${run.type}|${run.kind}|${run.connections}`;
    rows.set(key, [...(rows.get(key) ?? []), run]);
  }
  const of = (some: readonly Run[], figure: (run: Run) => number): Spread => spreadOf(some.map((run) => figure(run)));
  printTable(
    ['quick queues', 'beside them', 'connections', 'quick, messages/s', 'slow, messages/s'],
    [...rows.values()].map((some) => {
      const { type, kind, connections } = some[0]!;
      return [
        type,
        KINDS[kind].words,
        `${connections}`,
        withSpread(
          of(some, (run) => run.quick),
          thousands,
        ),
        kind === 'none' ? '' : thousands(of(some, (run) => run.slow).median),
      ];
    }),
  );
}
