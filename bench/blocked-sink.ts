/**
 * Scenario: two subscriptions of one source, each to a broker of its own, and one of the brokers takes nothing for a while (a memory
 * alarm). What the other is delivered a second once the blocked one reads by itself, against before; and that both have everything
 * in the end. A backlog is read all the while, so that the rate is the engine's and not a writer's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Timestamp } from 'mongodb';
import { build } from '../test/build.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { EngineProcess, removeFolder } from './engine-process.ts';
import { writeLoad } from './load.ts';
import { countMessages } from '../test/harness/queue-reader.ts';
import { atLeast, environment, judged, printHead, printTable, thousands, times } from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

const WANTED = 0.8;
const SUBSCRIPTIONS = ['well', 'blocked'] as const;
type Name = (typeof SUBSCRIPTIONS)[number];
/** The first seconds are no measure. */
const WARM_MS = 3_000;
const POLL_MS = 200;
const PATIENCE_MS = 10 * 60_000;

interface Phase {
  readonly name: string;
  readonly seconds: number;
  /** Events a second. */
  readonly rates: Readonly<Record<Name, number>>;
}

interface BlockedResult extends Environment {
  readonly phases: readonly Phase[];
  readonly targets: readonly object[];
}

const options = {
  entries: { type: 'number', default: 3_000_000, words: 'in the oplog; each goes to both' },
  before: { type: 'number', default: 15, words: 'seconds that both flow' },
  blocked: { type: 'number', default: 60, words: 'seconds that one broker takes nothing' },
  detachAfter: { type: 'number', default: 10, words: '`pipeline.detachAfter`, in seconds' },
} as const;

export const blockedSink = scenario({
  words: 'two sinks, one of them blocked for a minute: what the other is delivered meanwhile, and both in the end',
  minutes: 6,
  options,
  run: measure,
});

async function measure({ entries, before, blocked, detachAfter }: Values<typeof options>): Promise<BlockedResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const progress = (line: string): void => console.log(line);
    const mongo = await startMongo({ args: ['--oplogSize', '4000'], progress });
    closers.push(async () => mongo.stop());
    const brokers = { well: await startRabbit({ progress }), blocked: await startRabbit({ progress }) };
    for (const broker of Object.values(brokers)) closers.push(async () => broker.stop());
    const env = await environment({ mongoUri: mongo.uri, amqpUri: brokers.well.uri });
    printHead('One of two sinks is blocked.', env, {
      Load: `${thousands(entries)} inserts of documents of 150 bytes, to two subscriptions, a message each`,
      Blocked: `${blocked} s, detachAfter ${detachAfter} s`,
    });
    const [load] = await writeLoad(mongo.uri, 'small', [entries]);
    const engine = await EngineProcess.start({
      config: {
        sources: { bench: { uri: mongo.uri, start: 'earliest' } },
        sinks: Object.fromEntries(SUBSCRIPTIONS.map((name) => [name, { uri: brokers[name].uri }])),
        subscriptions: SUBSCRIPTIONS.map((name) => ({
          name,
          namespaces: load!.databases.map((database) => `${database}.*`),
          to: { sink: name, queue: name },
        })),
        pipeline: { detachAfter: `${detachAfter}s` },
      },
    });
    closers.push(async () => removeFolder(engine.folder));
    closers.push(async () => engine.stop());
    const rates = new Rates(engine);
    await engine.ready();
    await sleep(WARM_MS);
    const both = await rates.over('both flow', async () => sleep(before * 1_000));

    await brokers.blocked.setMemoryAlarm(true);
    const until = performance.now() + blocked * 1_000;
    const held = await rates.over('one is blocked, and holds the other', async () => rates.untilDetached(until));
    const alone = await rates.over('the blocked one reads by itself', async () =>
      rates.untilDone('well', load!.last, until),
    );
    await sleep(Math.max(0, until - performance.now()));
    await brokers.blocked.setMemoryAlarm(false);
    const after = await rates.over('blocked no more', async () => {
      const end = performance.now() + PATIENCE_MS;
      for (const name of SUBSCRIPTIONS) await rates.untilDone(name, load!.last, end);
    });
    await engine.stop();
    const phases = [both, held, alone, after];
    printTable(
      ['while', 'seconds', ...SUBSCRIPTIONS.map((name) => `"${name}", events/s`)],
      phases.map(({ name, seconds, rates: found }) => [
        name,
        seconds.toFixed(1),
        ...SUBSCRIPTIONS.map((one) => thousands(found[one])),
      ]),
    );
    for (const name of SUBSCRIPTIONS) {
      const messages = await countMessages(brokers[name].uri, name);
      console.log(`"${name}": ${thousands(messages)} messages in its queue, of ${thousands(load!.entries)}`);
      if (messages < load!.entries) throw new Error(`${load!.entries - messages} are missing in "${name}"`);
    }
    const kept = alone.rates.well / both.rates.well;
    return { ...env, phases, targets: judged([atLeast('the other keeps', WANTED, kept, times)]) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface Seen {
  readonly detached: boolean;
  readonly watermark: string | null;
  readonly messagesConfirmed: number;
}

class Rates {
  readonly #engine: EngineProcess;

  constructor(engine: EngineProcess) {
    this.#engine = engine;
  }

  async over(name: string, wait: () => Promise<void>): Promise<Phase> {
    const [from, began] = [await this.#confirmed(), performance.now()];
    await wait();
    const [to, seconds] = [await this.#confirmed(), (performance.now() - began) / 1_000];
    const rate = (one: Name): number => (to[one] - from[one]) / seconds;
    return { name, seconds, rates: { well: rate('well'), blocked: rate('blocked') } };
  }

  async untilDetached(until: number): Promise<void> {
    while (performance.now() < until && !(await this.#status()).blocked.detached) await sleep(POLL_MS);
  }

  /** Everything up to there is confirmed, or the time is up. */
  async untilDone(name: Name, last: Timestamp, until: number): Promise<void> {
    while (performance.now() < until) {
      const { watermark } = (await this.#status())[name];
      const [t = 0, i = 0] = (watermark ?? '').split(':').map(Number);
      if (watermark !== null && new Timestamp({ t, i }).greaterThanOrEqual(last)) return;
      await sleep(POLL_MS);
    }
  }

  async #confirmed(): Promise<Record<Name, number>> {
    const { well, blocked } = await this.#status();
    return { well: well.messagesConfirmed, blocked: blocked.messagesConfirmed };
  }

  async #status(): Promise<Record<Name, Seen>> {
    const answer = (await (await this.#engine.get('/status')).json()) as { readonly subscriptions: Record<Name, Seen> };
    return answer.subscriptions;
  }
}
