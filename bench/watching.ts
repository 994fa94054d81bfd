/**
 * Scenario: what watching events costs those who deliver them. An engine reads an oplog without end (`engine/firehose.ts`) into RabbitMQ, as fast
 * as it can; in one and the same run it is watched for a while, then not, then again. Neighbours make a pair, every other pair the
 * other way round, so that whatever drifts meets both alike. Queues keep the newest messages only: the load has no end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from '../test/build.ts';
import { startRabbit } from '../test/servers/index.ts';
import { endChild, startFirehose } from './engine/start-firehose.ts';
import { EngineProcess, removeFolder } from './engine-process.ts';
import { cpuSeconds } from './process-cost.ts';
import { deleteQueues } from './queues.ts';
import {
  atLeast,
  decimals,
  environment,
  judged,
  micros,
  printHead,
  printTable,
  spreadOf,
  thousands,
  withSpread,
} from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

const PARTITIONS = 4;
const KEPT_MESSAGES = 1_000;
const WARM_UP_MS = 8_000;
/** Once something was changed, before it counts. */
const SETTLE_MS = 500;
const WANTED = 0.95;

const CASES = {
  batched: { words: '200 events a message, JSON lines', subscription: { batch: { maxEvents: 200, maxBytes: '1MiB' } } },
  bson: {
    words: '200 events a message, BSON',
    subscription: { format: 'bson', batch: { maxEvents: 200, maxBytes: '1MiB' } },
  },
  one: { words: 'one event a message, JSON', subscription: {} },
} as const;
type Case = keyof typeof CASES;

const OPTIONS = {
  pairs: { type: 'number', default: 12, words: 'pairs of a watched and an unwatched stretch' },
  seconds: { type: 'number', default: 4, words: 'how long each of them is' },
  watchers: { type: 'number', default: 1, words: 'how many watch' },
  rate: { type: 'number', default: 50, words: 'events a second that each is shown' },
  only: { type: 'names', words: `only these: ${Object.keys(CASES).join(', ')}` },
} as const;

interface Pair {
  readonly case: Case;
  readonly unwatched: Stretch;
  readonly watched: Stretch;
  readonly shown: number;
}

interface Stretch {
  /** Events a second. */
  readonly rate: number;
  /** CPU of the engine's process, µs an event: what others take of the machine changes it less than the rate. */
  readonly micros: number;
}

interface WatchingResult extends Environment {
  readonly pairs: readonly Pair[];
  readonly targets: readonly object[];
}

export const watching = scenario({
  words:
    'what watching events live costs those who deliver them: pairs of a watched and an unwatched stretch under full load',
  minutes: 6,
  options: OPTIONS,
  run: measure,
});

async function measure({
  pairs: count,
  seconds,
  watchers,
  rate,
  only,
}: Values<typeof OPTIONS>): Promise<WatchingResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const rabbit = await startRabbit({ fresh: false });
    closers.push(async () => rabbit.stop());
    const firehose = await startFirehose();
    closers.push(async () => endChild(firehose.child));
    const env = await environment({ amqpUri: rabbit.uri });
    const cases = (Object.keys(CASES) as Case[]).filter((name) => only.length === 0 || only.includes(name));
    printHead('Watched and not, under full load.', env, {
      Load: `an endless oplog from memory, ${firehose.averageEntryBytes.toFixed(0)} B an entry, into ${PARTITIONS} classic queues that keep ${thousands(KEPT_MESSAGES)} messages each`,
      Engine: 'the built command, one process, defaults but for what is named',
      Pairs: `${count} of ${seconds} s each way in one run, every other one the other way round, after ${WARM_UP_MS / 1_000} s of warm-up`,
      Watchers: `${watchers}, without a filter, shown ${rate} events a second each, read as fast as they come`,
      ...Object.fromEntries(cases.map((name) => [name, CASES[name].words])),
    });
    const pairs: Pair[] = [];
    for (const name of cases) {
      pairs.push(...(await pairsOf(name, { uri: rabbit.uri, port: firehose.port, count, seconds, watchers, rate })));
    }
    return { ...env, pairs, targets: print(pairs) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface Setting {
  readonly uri: string;
  readonly port: number;
  readonly count: number;
  readonly seconds: number;
  readonly watchers: number;
  readonly rate: number;
}

async function pairsOf(name: Case, { uri, port, count, seconds, watchers, rate }: Setting): Promise<Pair[]> {
  const engine = await EngineProcess.start({
    config: {
      sources: { bench: { uri: `mongodb://127.0.0.1:${port}/?replicaSet=firehose`, start: 'earliest' } },
      sinks: { rabbit: { uri } },
      subscriptions: [
        {
          name: 'bench',
          namespaces: ['bench.*'],
          to: { queue: 'bench.{partition}', queueArguments: { 'x-max-length': KEPT_MESSAGES } },
          ...CASES[name].subscription,
        },
      ],
      pipeline: { partitions: PARTITIONS },
    },
  });
  try {
    await engine.whileRunning(engine.ready());
    await engine.whileRunning(sleep(WARM_UP_MS));
    const pairs: Pair[] = [];
    for (let n = 0; n < count; n++) {
      const pair = { unwatched: { rate: 0, micros: 0 }, watched: { rate: 0, micros: 0 } };
      let shown = 0;
      for (const way of n % 2 === 0 ? (['unwatched', 'watched'] as const) : (['watched', 'unwatched'] as const)) {
        const eyes = await Promise.all(
          Array.from({ length: way === 'watched' ? watchers : 0 }, () => Eyes.open(engine, rate)),
        );
        await engine.whileRunning(sleep(SETTLE_MS));
        const before = eyes.reduce((sum, one) => sum + one.shown, 0);
        pair[way] = await stretch(engine, seconds);
        shown += (eyes.reduce((sum, one) => sum + one.shown, 0) - before) / seconds;
        for (const one of eyes) await one.close();
      }
      pairs.push({ case: name, ...pair, shown });
      const { unwatched, watched } = pair;
      console.log(
        `${name}  ${thousands(unwatched.rate)} events/s at ${micros(unwatched.micros)}, ` +
          `watched ${thousands(watched.rate)} at ${micros(watched.micros)}: ${(watched.rate / unwatched.rate).toFixed(3)} (${shown.toFixed(0)} shown a second)`,
      );
    }
    return pairs;
  } finally {
    await engine.stop();
    await removeFolder(engine.folder);
    await deleteQueues(
      uri,
      Array.from({ length: PARTITIONS }, (_, p) => `bench.${p}`),
    );
  }
}

async function stretch(engine: EngineProcess, seconds: number): Promise<Stretch> {
  const before = await look(engine);
  await engine.whileRunning(sleep(seconds * 1_000));
  const after = await look(engine);
  const events = after.events - before.events;
  return {
    rate: (events * 1_000) / (after.atMs - before.atMs),
    micros: ((after.cpuSeconds - before.cpuSeconds) * 1e6) / events,
  };
}

async function look(engine: EngineProcess) {
  const { subscriptions } = await engine.status();
  const events = subscriptions['bench']!.eventsPublished;
  return { events, atMs: performance.now(), cpuSeconds: cpuSeconds(engine.pid) };
}

/** One who watches, and reads all that comes. */
class Eyes {
  shown = 0;
  readonly #body: ReadableStreamDefaultReader<Uint8Array>;
  readonly #reading: Promise<void>;

  static async open(engine: EngineProcess, rate: number): Promise<Eyes> {
    const response = await engine.get(`/api/v1/events?perSecond=${rate}`);
    if (!response.ok || response.body === null) throw new Error(`nobody may watch: ${await response.text()}`);
    return new Eyes(response.body.getReader());
  }

  private constructor(body: ReadableStreamDefaultReader<Uint8Array>) {
    this.#body = body;
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    await this.#body.cancel();
    await this.#reading;
  }

  async #read(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#body.read();
      if (done) return;
      this.shown += Buffer.from(value).toString('latin1').split('data: {"subscription"').length - 1;
    }
  }
}

/** Returns the targets. */
function print(pairs: readonly Pair[]): readonly object[] {
  const names = [...new Set(pairs.map((pair) => pair.case))];
  const ratio = decimals(3, ' ×');
  const of = (name: Case, figure: (pair: Pair) => number) =>
    spreadOf(pairs.filter((pair) => pair.case === name).map(figure));
  const rates = (name: Case) => of(name, ({ watched, unwatched }) => watched.rate / unwatched.rate);
  console.log('\nMedians of the pairs, least and most; ratios are those of each pair, watched to unwatched.\n');
  printTable(
    ['', 'events/s unwatched', 'watched', 'ratio', 'engine CPU unwatched', 'watched', 'ratio', 'shown a second'],
    names.map((name) => [
      name,
      withSpread(
        of(name, ({ unwatched }) => unwatched.rate),
        thousands,
      ),
      withSpread(
        of(name, ({ watched }) => watched.rate),
        thousands,
      ),
      withSpread(rates(name), ratio),
      withSpread(
        of(name, ({ unwatched }) => unwatched.micros),
        micros,
      ),
      withSpread(
        of(name, ({ watched }) => watched.micros),
        micros,
      ),
      withSpread(
        of(name, ({ watched, unwatched }) => watched.micros / unwatched.micros),
        ratio,
      ),
      withSpread(
        of(name, ({ shown }) => shown),
        thousands,
      ),
    ]),
  );
  return judged(
    names.map((name) => atLeast(`${name}, events/s watched to unwatched, median`, WANTED, rates(name).median, ratio)),
  );
}
