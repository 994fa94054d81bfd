/**
 * One history under one fault: an engine delivers a backlog and then what is written while the fault strikes; at the end the
 * queue is read dry and held against the oplog, which is the truth, whatever the writers believe to have written.
 * How the engine is set up is left to chance (`Shape`), so that each seed tries the same faults on another one.
 */
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import { judge, readMessages, repeatsPerLife } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { confirmed, untilDelivered, untilFlowing, untilReading } from '../harness/waiting.ts';
import { Watch } from './watch.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import type { Change } from '../harness/history.ts';
import type { Verdict } from '../harness/queue-reader.ts';
import type { Random } from '../equality/random.ts';
import type { Arena } from './arena.ts';
import type { Outcome } from './case.ts';

/** How the engine under test is set up. */
export interface Shape {
  readonly queue: 'classic' | 'quorum';
  readonly partitions: number;
  readonly workers: number;
  readonly window: number;
  /** Events in a message, at most. */
  readonly maxEvents: number;
  /** Half of the collections are spread by document. */
  readonly byDocument: boolean;
}

/** `through`: another way to it, for the engine alone. */
interface Server {
  readonly uri: string;
  readonly through?: string;
}

export interface TrialOptions {
  readonly arena: Arena;
  /** The run's own where nothing is said. The history is written and read back without what may be in the engine's way. */
  readonly mongo?: Server;
  readonly rabbit?: Server;
  /** Written before the engine starts. */
  readonly backlog?: number;
  /** Written from then on, about; 0: nothing more. */
  readonly eventsPerSecond?: number;
  readonly collections?: number;
  readonly padding?: number;
  /** What chance shall not decide. */
  readonly shape?: Partial<Shape>;
  /** Settings beside those of the shape: whole sections of the file, merged one level deep. */
  readonly config?: Readonly<Record<string, object>>;
  /** Of the subscription. */
  readonly subscription?: object;
  readonly routingKey?: string;
  /** Arguments of its queue, beside its type. */
  readonly queueArguments?: object;
  /** Done before the engine starts; `name` is that of its exchange and of its queue. */
  readonly prepare?: (name: string, shape: Shape) => Promise<unknown>;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Promised {
  /** Deliveries that may come twice. */
  readonly repeats: number;
  /** After a nack or a return it is the last delivery that comes in order; a kill of the broker may undo what a queue had. */
  readonly order?: 'first' | 'last';
  /** How many messages lay in the queue when each life of the engine had ended: `repeatsPerLife`. */
  readonly ends?: readonly number[];
  /** What was confirmed into a queue that its operator then deleted may be missing: so many changes at most, and of each key the first ones. */
  readonly gone?: number;
  /** So many changes are set aside, and count as delivered; 0 where nothing is said. */
  readonly parked?: number;
  /** What arrives beside the entries of single operations. */
  readonly also?: readonly Change[];
  /** What must arrive, where that is not what the oplog holds now. */
  readonly expected?: readonly Change[];
  /** It has ended by itself, as it should. */
  readonly ended?: boolean;
  readonly rssMiB?: number;
  readonly withinMs?: number;
}

/** More than any broker here confirms in the 50 ms that the last checkpoint may be behind. */
const CONFIRMS_IN_50_MS = 3_000;
/** Worth a look at the log. */
const SLOW_MS = 2_000;
/** Decided here, not measured: beyond it memory would be called unbounded. */
const RSS_MIB = 512;

/** With the servers that it runs on. */
type Complete = TrialOptions & Required<Pick<TrialOptions, 'mongo' | 'rabbit'>>;

interface Begun {
  readonly name: string;
  readonly shape: Shape;
  readonly since: string;
  readonly folder: EngineFolder;
  readonly config: object;
}

export class Trial implements AsyncDisposable {
  readonly name: string;
  readonly shape: Shape;
  readonly folder: EngineFolder;
  readonly watch = new Watch();
  /** What the engine runs on. */
  readonly config: object;
  readonly #o: Complete;
  readonly #since: string;
  #engine: EngineProcess;
  #traffic: Traffic | undefined;
  #faults = 0;
  #recoveryMs: number | undefined;

  static async begin(options: TrialOptions): Promise<Trial> {
    // Hours of it leave a machine room for more than one run.
    const { arena, backlog = 0, eventsPerSecond = arena.pick(2_000, 600) } = options;
    const mongo: Server = options.mongo ?? (await arena.mongo());
    const rabbit: Server = options.rabbit ?? (await arena.rabbit());
    const name = arena.uniqueName();
    const shape = { ...randomShape(arena.random), ...options.shape };
    arena.say(
      `${name}: ${Object.entries(shape)
        .map(([key, value]) => `${key} ${value}`)
        .join(', ')}`,
    );
    await using client = await MongoClient.connect(mongo.uri);
    const since = await endOfOplog(client);
    const { collections = 8, padding = 300 } = options;
    if (backlog > 0) await writeHistory(client, { db: name, collections, events: backlog, padding });
    await options.prepare?.(name, shape);
    const through = { mongo: { uri: mongo.through ?? mongo.uri }, rabbit: { uri: rabbit.through ?? rabbit.uri } };
    const config = configOf({ ...options, ...through }, { name, shape, since });
    const folder = await EngineFolder.create(config);
    const trial = new Trial({ ...options, mongo, rabbit }, { name, shape, since, folder, config });
    try {
      if (eventsPerSecond > 0) {
        await untilReading(trial.engine);
        trial.#traffic = new Traffic({ uri: mongo.uri, db: `${name}-traffic`, collections, eventsPerSecond, padding });
        await trial.#untilFlowing();
        trial.watch.flowing = true;
      }
    } catch (error) {
      await trial[Symbol.asyncDispose]();
      throw error;
    }
    return trial;
  }

  private constructor(options: Complete, { name, shape, since, folder, config }: Begun) {
    this.#o = options;
    this.name = name;
    this.shape = shape;
    this.#since = since;
    this.folder = folder;
    this.config = config;
    this.#engine = this.start();
  }

  /** The one that lives now, or lived last. */
  get engine(): EngineProcess {
    return this.#engine;
  }

  /** What may be repeated when everything under way is sent again once. */
  get underWay(): number {
    const { partitions, window, maxEvents } = this.shape;
    return partitions * window * maxEvents;
  }

  /** The same after a kill of the engine. */
  get perKill(): number {
    return this.underWay + CONFIRMS_IN_50_MS * this.shape.maxEvents;
  }

  /** In messages. */
  get #perLife(): number {
    return this.shape.partitions * this.shape.window + CONFIRMS_IN_50_MS;
  }

  start(args: readonly string[] = []): EngineProcess {
    return this.goOnWith(this.folder.start(args, this.#o.env));
  }

  /** Another engine delivers from now on. */
  goOnWith(engine: EngineProcess): EngineProcess {
    this.#engine = engine;
    this.watch.engine = engine;
    return engine;
  }

  /** Lets something break, and measures from its end how long it takes until messages flow again. */
  async strike(fault: () => Promise<unknown>): Promise<void> {
    await fault();
    this.#faults++;
    const began = performance.now();
    await this.#untilFlowing();
    const recoveryMs = Math.round(performance.now() - began);
    if (recoveryMs > SLOW_MS)
      this.#o.arena.say(`flowing again only after ${recoveryMs} ms:\n${this.engine.log().slice(-2_000)}`);
    this.#recoveryMs = Math.max(this.#recoveryMs ?? 0, recoveryMs);
  }

  async #untilFlowing(): Promise<void> {
    await untilFlowing(this.engine, 60_000).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.engine.log().slice(-3_000)}`, { cause: error });
    });
  }

  /** Again and again; each time until the engine says that all is well. */
  async strikes(times: number, fault: () => Promise<unknown>): Promise<void> {
    for (let n = 0; n < times; n++) {
      await this.strike(fault);
      await this.untilReady();
    }
  }

  /** Faults that were over before anybody could measure them. */
  count(faults = 1): void {
    this.#faults += faults;
  }

  /** A start that must fail with exit code 2, and says why. */
  async refused(why: string): Promise<void> {
    const exit = await this.start().ended();
    if (exit !== 2 || !this.engine.log().includes(why)) {
      throw new Error(`a start ended with ${exit}, not with 2 and "${why}": ${this.engine.log()}`);
    }
  }

  async untilNotReady(because = /./, withinMs = 15_000): Promise<readonly string[]> {
    let reasons: readonly string[] = [];
    const said = until(
      `the engine says that it is not ready: ${because}`,
      async () => {
        const ready = await this.engine.ready();
        reasons = ready.reasons;
        return !ready.ok && because.test(reasons.join('\n'));
      },
      withinMs,
    );
    await said.catch((error: unknown) => {
      throw new Error(`${String(error)}; instead: ${reasons.join('; ')}\n${this.engine.log().slice(-3_000)}`);
    });
    this.#o.arena.say(`not ready: ${reasons.join('; ')}`);
    return reasons;
  }

  /** It says so again once all is well. */
  async untilReady(withinMs = 30_000): Promise<void> {
    await until('the engine says that it is ready', async () => (await this.engine.ready()).ok, withinMs);
  }

  /** Changes that the broker has confirmed to the engine that lives now; at most, where messages hold several. */
  async confirmed(): Promise<number> {
    return (await confirmed(this.engine)) * this.shape.maxEvents;
  }

  /** What was written so far, by the oplog. */
  async written(): Promise<Change[]> {
    await using client = await MongoClient.connect(this.#o.mongo.uri);
    return [
      ...(await historyOf(client, this.name, this.#since)),
      ...(await historyOf(client, `${this.name}-traffic`, this.#since)),
    ];
  }

  async endTraffic(): Promise<void> {
    this.watch.flowing = false;
    await this.#traffic?.[Symbol.asyncDispose]();
  }

  /** Ends the writing, waits for all of it to be delivered, stops the engine, and looks at what lies in the queue. Throws `Broken`. */
  async verdict(promised: Promised): Promise<Outcome> {
    await this.endTraffic();
    const { ended = false, withinMs = 600_000, also = [] } = promised;
    const expected = [...(promised.expected ?? (await this.written())), ...also];
    if (!ended) {
      await untilDelivered(this.engine, latest(expected), { withinMs });
      await this.untilReady();
    }
    await this.watch.end();
    const exit = ended ? 0 : await this.engine.terminate();
    const aside = await this.#parked();
    const received = await readMessages(this.#o.rabbit.uri, this.name, expected.length - aside.length);
    return this.#judged({ expected, received, exit, promised, aside });
  }

  /** Ids of what was set aside; of an engine that has ended. */
  async #parked(): Promise<string[]> {
    const { code, stdout, stderr } = await this.folder.command('parked', 'list', '--json');
    if (code !== 0) throw new Error(`parked list ended with ${code}: ${stderr}`);
    const { parked } = JSON.parse(stdout) as { parked: { id: string }[] };
    return parked.map(({ id }) => id.slice(id.indexOf(':') + 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endTraffic();
    await this.watch.end();
    await this.folder[Symbol.asyncDispose]();
  }

  #judged({
    expected,
    received,
    exit,
    promised,
    aside,
  }: {
    expected: readonly Change[];
    received: readonly (readonly string[])[];
    exit: number | string;
    promised: Promised;
    aside: readonly string[];
  }): Outcome {
    const { watch, shape } = this;
    const key = (change: Change): string => keyOf(change, shape);
    const parked = new Set(aside);
    const awaited = expected.filter(({ id }) => !parked.has(id));
    const judged = judge(awaited, received.flat(), key);
    const verdict = promised.gone === undefined ? judged : { ...judged, missing: holes(awaited, judged.missing, key) };
    const { order = 'first', repeats, ends = [], rssMiB = RSS_MIB } = promised;
    const eachLife = Math.max(...repeatsPerLife(received, ends));
    const outcome: Outcome = {
      changes: expected.length,
      lost: verdict.missing.length,
      outOfOrder: order === 'first' ? verdict.firstOutOfOrder.length : verdict.lastOutOfOrder.length,
      repeated: verdict.repeated,
      stallMs: this.#traffic && watch.longestStallMs,
      recoveryMs: this.#recoveryMs,
      peakRssMiB: Math.round(watch.peakRss / 1024 / 1024),
      faults: this.#faults,
    };
    if (promised.gone !== undefined)
      this.#o.arena.say(`${judged.missing.length} gone with the queue, ${promised.gone} may be`);
    if (ends.length > 0)
      this.#o.arena.say(`at most ${eachLife} messages repeated in one life, ${this.#perLife} may be`);
    const wrong = [
      ...wrongIn(verdict, order),
      ...(promised.gone !== undefined && judged.missing.length > promised.gone
        ? [`${judged.missing.length} missing, where ${promised.gone} lay in what was deleted`]
        : []),
      ...(aside.length === (promised.parked ?? 0) ? [] : [`${aside.length} set aside, not ${promised.parked ?? 0}`]),
      ...(outcome.repeated > repeats ? [`${outcome.repeated} repeated, where ${repeats} may be`] : []),
      ...(ends.length > 0 && eachLife > this.#perLife
        ? [`one life repeated ${eachLife} messages, where ${this.#perLife} may be`]
        : []),
      ...(outcome.peakRssMiB > rssMiB ? [`${outcome.peakRssMiB} MiB of memory, where ${rssMiB} may be`] : []),
      ...(watch.unhealthy.size > 0 ? [`/healthz asked for a restart: ${[...watch.unhealthy].join('; ')}`] : []),
      ...(exit === 0 ? [] : [`the engine ended with ${exit}`]),
    ];
    if (wrong.length > 0) throw new Broken(wrong, outcome, this.engine.log());
    return outcome;
  }
}

/** A promise was not kept. */
export class Broken extends Error {
  override readonly name = 'Broken';
  readonly outcome: Outcome;

  constructor(wrong: readonly string[], outcome: Outcome, log: string) {
    super(`${wrong.join('; ')}\nthe end of the engine's log:\n${log.slice(-3_000)}`);
    this.outcome = outcome;
  }
}

function randomShape(random: Random): Shape {
  return {
    queue: random.pick(['classic', 'quorum']),
    partitions: random.pick([1, 4, 16]),
    workers: random.pick([1, 2]),
    window: random.pick([32, 256]),
    maxEvents: random.pick([1, 1, 50]),
    byDocument: random.chance(0.5),
  };
}

function configOf(
  {
    mongo,
    rabbit,
    config: { source, sink, pipeline, ...config } = {},
    subscription = {},
    queueArguments = {},
    routingKey,
  }: Complete,
  { name, shape, since }: { name: string; shape: Shape; since: string },
): object {
  const { queue, partitions, workers, window, maxEvents, byDocument } = shape;
  return {
    ...config,
    sources: { src: { uri: mongo.uri, start: since, ...source } },
    sinks: { mq: { uri: rabbit.uri, window, ...sink } },
    subscriptions: [
      {
        name: 'all',
        namespaces: [`${name}.*`, `${name}-traffic.*`],
        batch: { maxEvents },
        to: {
          exchange: name,
          ...(routingKey && { routingKey }),
          queues: [{ name, type: queue, bind: '#', arguments: queueArguments }],
        },
        ...subscription,
      },
    ],
    pipeline: {
      workers,
      partitions,
      ...(byDocument && { partitionBy: [{ namespaces: spread(name), key: 'document' }] }),
      ...pipeline,
    },
  };
}

/** Of what is missing, that which was written after something of its key that is there. */
function holes(expected: readonly Change[], missing: readonly string[], key: (change: Change) => string): string[] {
  const gone = new Set(missing);
  const begun = new Set<string>();
  return expected.flatMap((change) => {
    const of = key(change);
    if (!gone.has(change.id)) begun.add(of);
    return gone.has(change.id) && begun.has(of) ? [change.id] : [];
  });
}

/** The collections with an even number. */
function spread(name: string): string[] {
  return [name, `${name}-traffic`].flatMap((db) => [0, 2, 4, 6, 8].map((digit) => `${db}.*${digit}`));
}

/** What order is promised within. */
function keyOf({ ns, document }: Change, { byDocument }: Shape): string {
  return byDocument && /[02468]$/.test(ns) ? `${ns}/${document}` : ns;
}

/** The last one in the oplog, whichever database it is in. */
function latest(changes: readonly Change[]): Change[] {
  const at = ({ id }: Change): number => {
    const [seconds = 0, increment = 0] = id.split('.').map(Number);
    return seconds * 2 ** 20 + increment;
  };
  return changes.length === 0 ? [] : [changes.reduce((last, one) => (at(one) > at(last) ? one : last))];
}

function wrongIn({ missing, unknown, firstOutOfOrder, lastOutOfOrder }: Verdict, order: 'first' | 'last'): string[] {
  const wrong = {
    missing,
    'never written': unknown,
    'out of order': order === 'first' ? firstOutOfOrder : lastOutOfOrder,
  };
  return Object.entries(wrong).flatMap(([what, ids]) =>
    ids.length === 0 ? [] : [`${ids.length} ${what}: ${ids.slice(0, 5).join(', ')} …`],
  );
}
