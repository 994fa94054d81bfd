/**
 * A campaign: rounds of a few thousand operations against one server, while its change stream and the engine listen all the
 * time. Each round has a seed and steps of its own and begins by dropping its databases, so one that shows a difference
 * can be run again by itself, with ever fewer steps.
 */
import type { Timestamp } from 'bson';
import { differences } from './compare.ts';
import type { Difference } from './compare.ts';
import { EngineListener } from './engine-listener.ts';
import type { Mode } from './engine-listener.ts';
import { Performer } from './perform.ts';
import { derivedSeed } from './random.ts';
import { ServerListener } from './server-listener.ts';
import { stepsOf } from './steps.ts';
import type { Step, WorkloadOptions } from './steps.ts';
import { Wire } from './wire.ts';

/** What is listened to, and how. */
export interface Listening {
  readonly uri: string;
  /** The events of commands too, not only of documents. */
  readonly ddl: boolean;
  /** With all that newer servers show on demand. */
  readonly expanded: boolean;
  readonly modes?: readonly Mode[];
}

export interface CampaignOptions extends Listening {
  readonly seed: number;
  readonly operations: number;
  readonly large: boolean;
  readonly progress?: (line: string) => void;
}

export interface CampaignResult {
  readonly operations: number;
  readonly events: number;
  readonly steps: number;
  /** Steps that the server refused. */
  readonly refused: number;
  /** How many events of each kind were compared. */
  readonly kinds: ReadonlyMap<string, number>;
  readonly errors: ReadonlyMap<string, number>;
  readonly failure: RoundFailure | undefined;
}

export interface RoundFailure {
  readonly workload: WorkloadOptions;
  readonly differences: readonly Difference[];
}

const ROUND = 2_000;
const DATA: ReadonlySet<string> = new Set(['insert', 'update', 'replace', 'delete']);

export async function campaign(options: CampaignOptions): Promise<CampaignResult> {
  await using listeners = await Listeners.open(options);
  let operations = 0;
  let events = 0;
  let failure: RoundFailure | undefined;
  const kinds = new Map<string, number>();
  for (let round = 0; operations < options.operations && failure === undefined; round += 1) {
    const workload = {
      seed: derivedSeed(options.seed, round),
      operations: Math.min(ROUND, options.operations - operations),
      ddl: options.ddl,
      large: options.large,
    };
    const steps = stepsOf(workload);
    const outcome = await listeners.run(steps).catch((error: unknown) => {
      throw new Error(`in the round with seed ${workload.seed}, of ${workload.operations} operations`, {
        cause: error,
      });
    });
    operations += steps.reduce((sum, step) => sum + step.operations, 0);
    events += outcome.events;
    for (const kind of outcome.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    if (outcome.differences.length > 0) failure = { workload, differences: outcome.differences };
    if (round % 10 === 9) options.progress?.(`${operations} operations, ${events} events`);
  }
  const { performed, failed, errors } = listeners.performer;
  return { operations, events, steps: performed, refused: failed, kinds, errors, failure };
}

/** Both listeners on one server, and the connection that writes. */
export class Listeners implements AsyncDisposable {
  readonly performer: Performer;
  readonly #wire: Wire;
  readonly #server: ServerListener;
  readonly #engine: EngineListener;
  readonly #ddl: boolean;

  private constructor(parts: { wire: Wire; server: ServerListener; engine: EngineListener; ddl: boolean }) {
    this.#wire = parts.wire;
    this.#server = parts.server;
    this.#engine = parts.engine;
    this.#ddl = parts.ddl;
    this.performer = new Performer(parts.wire);
  }

  static async open({ uri, ...listening }: Listening): Promise<Listeners> {
    const wire = await Wire.open(uri);
    const after = await mark(wire);
    const [server, engine] = await Promise.all([
      ServerListener.open(uri, { after, expanded: listening.expanded }),
      EngineListener.open({ ...listening, uri, after }),
    ]);
    // The mark itself: a change stream begins with it, the engine behind it.
    await server.upTo(placeOf(after));
    return new Listeners({ wire, server, engine, ddl: listening.ddl });
  }

  /** Performs the steps, and compares all that came of them. */
  async run(steps: readonly Step[]): Promise<{ events: number; kinds: string[]; differences: Difference[] }> {
    // Beside the writes that follow, so that some fall into each of a restart's moments.
    let restarted = Promise.resolve();
    for (const step of steps) {
      if (step.kind === 'restart') restarted = restarted.then(async () => this.#engine.restart());
      else await this.performer.perform(step);
    }
    await restarted;
    return this.compare();
  }

  /** What both have heard since the last comparison. */
  async compare(): Promise<{ events: number; kinds: string[]; differences: Difference[] }> {
    const end = placeOf(await mark(this.#wire));
    const [all, { events: ours, parked }] = await Promise.all([this.#server.upTo(end), this.#engine.upTo(end)]);
    const theirs = this.#ddl ? all : all.filter(({ kind }) => DATA.has(kind));
    // Of ours alone, and meant to be: no change stream says that a collection was swapped for another.
    const found = differences(
      ours.filter(({ kind }) => kind !== 'resync'),
      theirs,
    );
    for (const what of parked) found.push({ place: '', what: 'parked', ours: what, theirs: '' });
    return { events: theirs.length, kinds: theirs.map(({ kind }) => kind), differences: found };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#engine, this.#server, this.#wire].map((part) => part[Symbol.asyncDispose]()));
  }
}

/** Writes something that both listeners will show; its time. */
export async function mark(wire: Wire): Promise<Timestamp> {
  const reply = await wire.run('eq-marks', {
    insert: 'marks',
    documents: [{ at: new Date() }],
    writeConcern: { w: 'majority' },
  });
  return (reply['opTime'] as { ts: Timestamp } | undefined)?.ts ?? (reply['operationTime'] as Timestamp);
}

export function placeOf({ t, i }: Timestamp): { seconds: number; increment: number; index: number } {
  return { seconds: t, increment: i, index: 0 };
}
