/**
 * The feeds of one source. Its subscriptions share one, whose reading the slowest of them holds up. Some have a feed of their own: one
 * that has held the others for `detachAfter`, and one that is added while they read. It joins them once it has caught up.
 *
 *     shared ──held by one for `detachAfter`──▶ its own ──caught up──▶ shared
 *                                    added ──▶
 *
 * One that keeps the last states of its documents (`images: local`) reads by itself for good: what it takes in turn holds up nobody else.
 *
 * Nothing of this stops the others. One that leaves takes where it stands along, and what it was not answered for is read again. One that joins
 * has read all that the shared feed has, which reads for it too from there on, and keeps what comes until the other has delivered the rest.
 */
import { performance } from 'node:perf_hooks';
import { NotNowError, PositionLostError, UserError } from '../errors.ts';
import { InTurn } from '../in-turn.ts';
import { settled } from '../waits.ts';
import { AnyOf } from '../source/any-of.ts';
import type { CheckpointRecord } from '../checkpoint/record.ts';
import type { Log } from '../observe/log.ts';
import { Apart, isFlowing } from './apart.ts';
import type { ByItself } from './apart.ts';
import { hasRead } from './pause.ts';
import { keepsStates } from './feed.ts';
import type { Feed } from './feed.ts';
import type { Member } from './members.ts';
import type { Checkpoints, Route } from './route.ts';

export interface FeedGroupOptions {
  readonly name: string;
  /** Those that are read for from the start. */
  readonly routes: readonly Route[];
  readonly makeFeed: (routes: readonly Route[]) => Feed;
  readonly checkpoints: Checkpoints;
  /** Undefined: the slowest holds all. */
  readonly detachAfterMs: number | undefined;
  /** Positions are not each entry's. */
  readonly inSteps: boolean;
  readonly log: Log;
  /** The source is connected, and every start is stored. */
  readonly onStarted: (feed: Feed) => void;
  /** A position is lost, and the policy is to stop. Resolves once what was read before has been seen to. */
  readonly onLost: (feed: Feed, error: PositionLostError, stop: AbortSignal) => Promise<void>;
}

/** A feed with one subscription. */
interface Alone extends ByItself {
  readonly detached: boolean;
}

/** Of a feed, those that it is to read for no more. */
interface Leaving {
  readonly feed: Feed;
  readonly members: readonly Member[];
}

interface Running {
  readonly quit: AbortController;
  readonly done: Promise<void>;
}

const LOOK_MS = 250;
/** One that held the others must have kept up for so long: it must not hold them again at once. */
const STEADY_MS = 5_000;
/** Longer, and another try later is better. */
const PREPARE_MS = 10_000;
const AGAIN_MS = 10_000;
/** Of one that is taken out, answers to what is under way are waited for. */
const QUIET_MS = 5_000;
/** Of one that is added: its source must have answered by then. */
const START_MS = 20_000;
/** How often one that was added tries to join. */
const JOIN_AGAIN_MS = 500;
/** One that joins must find itself as far as the others within this; nobody waits for it. */
const REACH_MS = 2_000;
/** What it has read by then is to be delivered within this, or it goes on by itself. */
const SETTLE_MS = 5_000;

export class FeedGroup {
  readonly name: string;
  readonly #o: FeedGroupOptions;
  readonly #apart: Apart;
  /** Undefined while nobody is read for. */
  #shared: Feed | undefined;
  /** Each with one subscription. */
  #alone: readonly Alone[] = [];
  readonly #running = new Map<Feed, Running>();
  readonly #turns = new InTurn();
  /** So many are under way or wait for their turn. */
  #changes = 0;
  /** Nothing is changed unasked before this, `performance.now()`. */
  #notBefore = 0;
  /** Of a change that nobody has asked for: ends it where somebody asks for one. */
  #giveWay: AbortController | undefined;
  /** While it runs. */
  #stop: AbortSignal | undefined;
  /** Of feeds that were left. */
  readonly #closing = new Set<Promise<void>>();
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;
  #ended: () => void = () => undefined;

  constructor(options: FeedGroupOptions) {
    this.#o = options;
    this.name = options.name;
    this.#apart = new Apart({ afterMs: options.detachAfterMs, inSteps: options.inSteps });
    const together = options.routes.filter((route) => !keepsStates(route));
    if (together.length > 0) this.#shared = options.makeFeed(together);
    for (const route of options.routes) if (keepsStates(route)) this.#alongside(route);
    this.#fillShared();
  }

  /** The first is the one that is shared. */
  get feeds(): readonly Feed[] {
    return [...(this.#shared ? [this.#shared] : []), ...this.#alone.map(({ feed }) => feed)];
  }

  /** The one that speaks for the source; undefined while nobody is read for. */
  get shared(): Feed | undefined {
    return this.#shared;
  }

  /** Positions were lost, and nothing is read any more; until somebody moves a subscription that stands there. */
  get isGivenUp(): boolean {
    return this.#isStill && this.feeds.some(({ lost }) => lost !== undefined);
  }

  get #isStill(): boolean {
    return this.#running.size === 0 && this.#changes === 0;
  }

  /** Resolves at `stop`; rejects with what ended a feed. `ended` is told when nothing is read any more. */
  async run(stop: AbortSignal, ended: () => void): Promise<void> {
    this.#stop = stop;
    this.#ended = ended;
    const looking = setInterval(() => this.#look(stop), LOOK_MS);
    const stopped = (): void => this.#resolveIfOver();
    stop.addEventListener('abort', stopped);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = { resolve, reject };
        for (const feed of this.feeds) this.#launch(feed, stop);
        stopped();
      });
    } finally {
      stop.removeEventListener('abort', stopped);
      clearInterval(looking);
      await this.#turns.settled();
    }
  }

  /**
   * Reads for one more, from its checkpoint or where `start` says: beside the others until it has caught up, then with them. Resolves
   * once its start is stored; where it rejects, nothing has changed. Throws `NotNowError`, also where the source does not answer
   * within `withinMs`, `UserError` and `PositionLostError`.
   */
  async add(route: Route, withinMs = START_MS): Promise<void> {
    await this.#one(async () => {
      const stop = this.#stop;
      if (!stop || stop.aborted) throw new NotNowError('The engine is not running.');
      const feed = this.#alongside(route);
      using near = new AnyOf([stop]).within(withinMs, new Error('the source did not answer in time'));
      try {
        await feed.start(near.signal);
        this.#o.onStarted(feed);
      } catch (error) {
        this.#takeOut(feed);
        const { downFor = 'it does not answer' } = feed.source;
        await feed.close();
        if (!near.signal.aborted || error instanceof UserError) throw error;
        throw new NotNowError(`Source "${this.name}" cannot be reached: ${downFor}.`);
      }
      this.#launch(feed, stop);
      this.#fillShared();
    });
  }

  /** Reads for this one no more. Resolves once where it stands is stored, as `keep` has it; false where that is not known yet. */
  async remove(subscription: string, keep: (record: CheckpointRecord) => CheckpointRecord): Promise<boolean> {
    return await this.#one(async () => {
      const leaving = this.#leaving(new Set([subscription]));
      if (!leaving.every((one) => this.#isKnown(one))) return false;
      await this.#letGo(leaving, keep);
      return true;
    });
  }

  /**
   * Reads for these no more, all at the same time; the others go on. Resolves with the names of those that it has read for, once where they
   * stand is stored; of a feed that has never reached its source nothing is known, and it is left. Throws `NotNowError`: nothing has changed.
   */
  async removeAll(names: ReadonlySet<string>): Promise<readonly string[]> {
    return await this.#one(async () => {
      const leaving = this.#leaving(names);
      for (const { feed, members } of leaving) {
        if (hasBegun(feed) || members.length === feed.members.length) continue;
        const [{ route }] = members as [Member];
        throw new NotNowError(
          `Subscription "${route.config.name}" cannot be changed yet: where it begins is stored only once its source has been reached.`,
        );
      }
      await this.#letGo(leaving, (record) => record);
      return leaving.flatMap(({ members }) => members.map(({ route }) => route.config.name));
    });
  }

  /** As at the start of a run: it is read for whenever its source answers. */
  async launch(route: Route): Promise<void> {
    await this.#one(async () => {
      const stop = this.#stop;
      if (!stop || stop.aborted) return;
      const feed = this.#alongside(route);
      this.#launch(feed, stop);
      this.#fillShared();
    });
  }

  /** Whether it reads by itself because it held the others. */
  isDetached(feed: Feed): boolean {
    return this.#alone.some((one) => one.feed === feed && one.detached);
  }

  async drain(): Promise<void> {
    await Promise.all(this.feeds.map(async (feed) => feed.drain()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.feeds.map(async (feed) => feed.close()), ...this.#closing]);
  }

  #leaving(names: ReadonlySet<string>): readonly Leaving[] {
    return this.feeds.flatMap((feed) => {
      const members = feed.members.filter(({ route }) => names.has(route.config.name));
      return members.length === 0 ? [] : [{ feed, members }];
    });
  }

  /** Whether where they stand is stored, or can be. */
  #isKnown({ feed, members }: Leaving): boolean {
    const { checkpoints } = this.#o;
    const isStored = ({ route }: Member): boolean => checkpoints.get(route.config.name) !== undefined;
    return feed.started || (feed.lost !== undefined && members.every(isStored));
  }

  /** Resolves once where they stand is stored, as `keep` has it. */
  async #letGo(leaving: readonly Leaving[], keep: (record: CheckpointRecord) => CheckpointRecord): Promise<void> {
    const { checkpoints } = this.#o;
    const begun = leaving.filter(({ feed }) => hasBegun(feed));
    await Promise.all(
      begun.flatMap(({ feed, members }) => members.map(async ({ number }) => feed.quieten(number, QUIET_MS))),
    );
    // One whose position was lost before it was read stands where it is stored.
    const records = begun.flatMap(({ feed, members }) =>
      members.flatMap(({ number, route }) => feed.leave(number) ?? checkpoints.get(route.config.name) ?? []),
    );
    for (const { feed } of leaving) {
      if (hasBegun(feed) && feed.members.length > 0) continue;
      this.#takeOut(feed);
      this.#leave(feed);
    }
    this.#fillShared();
    await checkpoints.put(records.map(keep));
    await checkpoints.flushed();
  }

  /** Reads beside the others until it has caught up. */
  #alongside(route: Route): Feed {
    const feed = this.#o.makeFeed([route]);
    this.#alone = [...this.#alone, { feed, steadyMs: 0, detached: false }];
    return feed;
  }

  #takeOut(feed: Feed): void {
    if (feed === this.#shared) this.#shared = undefined;
    this.#alone = this.#alone.filter((one) => one.feed !== feed);
  }

  /** Where nobody else is, whoever reads by itself is the one that others join; but for one that keeps states, which nobody does. */
  #fillShared(): void {
    const before = this.#shared;
    if (before && !before.keepsStates) return;
    const next = this.#alone.find(({ feed }) => !feed.keepsStates) ?? (before ? undefined : this.#alone[0]);
    if (!next) return;
    const others = this.#alone.filter((one) => one !== next);
    this.#shared = next.feed;
    this.#alone = before ? [{ feed: before, steadyMs: 0, detached: false }, ...others] : others;
  }

  #launch(feed: Feed, stop: AbortSignal): void {
    const quit = new AbortController();
    const done = this.#runFeed(feed, [stop, quit.signal]);
    this.#running.set(feed, { quit, done });
    done.then(
      () => {
        this.#running.delete(feed);
        this.#resolveIfOver();
      },
      (error: unknown) => this.#settle?.reject(error),
    );
  }

  #resolveIfOver(): void {
    if (!this.#isStill) return;
    if (this.#stop?.aborted === true) this.#settle?.resolve();
    else this.#ended();
  }

  /** Until it is told to end, or has lost its position. */
  async #runFeed(feed: Feed, stops: readonly AbortSignal[]): Promise<void> {
    using either = new AnyOf(stops);
    const { signal } = either;
    try {
      if (!feed.started) {
        await feed.start(signal);
        this.#o.onStarted(feed);
      }
      await feed.run(signal);
    } catch (error) {
      if (signal.aborted && !(error instanceof UserError)) return;
      if (!(error instanceof PositionLostError)) throw error;
      await this.#o.onLost(feed, error, signal);
    }
  }

  #look(stop: AbortSignal): void {
    const shared = this.#shared;
    if (!shared || shared.keepsStates || !this.#running.has(shared) || this.#changes > 0 || stop.aborted) return;
    const now = performance.now();
    const able = this.#alone.filter(({ feed }) => !feed.keepsStates);
    const due = this.#apart.due(shared, able, now);
    if (due === undefined || now < this.#notBefore) return;
    this.#one(async () => {
      this.#giveWay = new AbortController();
      using either = new AnyOf([stop, this.#giveWay.signal]);
      const { signal } = either;
      const changed =
        'join' in due ? await this.#join(due.join, signal) : await this.#detach(shared, due.leave, { stop, signal });
      if (!changed) this.#notBefore = performance.now() + ('join' in due ? JOIN_AGAIN_MS : AGAIN_MS);
      else if ('leave' in due) this.#apart.startOver();
    }).catch((error: unknown) => this.#settle?.reject(error));
  }

  /** After all that was asked for before. */
  async #one<T>(change: () => Promise<T>): Promise<T> {
    this.#changes += 1;
    this.#giveWay?.abort(new Error('something else is to be changed'));
    return await this.#turns.run(async () => {
      try {
        return await change();
      } finally {
        this.#changes -= 1;
        this.#resolveIfOver();
      }
    });
  }

  /** False where it cannot be now, or is not to be any more, as `signal` says. */
  async #detach(
    shared: Feed,
    numbers: readonly number[],
    { stop, signal }: { readonly stop: AbortSignal; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const { makeFeed, checkpoints, log } = this.#o;
    const leaving = shared.members.filter(({ number }) => numbers.includes(number));
    const fresh = leaving.map(({ number, route }) => ({ number, feed: makeFeed([route]) }));
    if (!(await this.#canBegin(shared, fresh, signal)) || !this.#mayChange(shared) || signal.aborted) {
      await Promise.all(fresh.map(async ({ feed }) => feed.close()));
      return false;
    }
    const records = fresh.flatMap(({ number }) => shared.leave(number) ?? []);
    await checkpoints.put(records);
    for (const { feed } of fresh) {
      this.#launch(feed, stop);
      this.#alone = [...this.#alone, { feed, steadyMs: STEADY_MS, detached: true }];
    }
    for (const { route } of leaving) {
      log.warn(
        { code: 'subscription-detached', source: this.name, subscription: route.config.name },
        'A subscription held its source for too long: it goes on by itself, from where it stands, and the others without it.',
      );
    }
    return true;
  }

  /**
   * Whether they can begin where their subscriptions stand: what was read and is not delivered yet is given up, and the oplog may not
   * have it any more. What may take long, or go wrong, comes here, while all is still as it was.
   */
  async #canBegin(
    shared: Feed,
    fresh: readonly { readonly number: number; readonly feed: Feed }[],
    stop: AbortSignal,
  ): Promise<boolean> {
    const { checkpoints, log } = this.#o;
    try {
      using near = new AnyOf([stop]).within(PREPARE_MS, new Error('the source could not be asked in time'));
      for (const { number, feed } of fresh) {
        const point = shared.resume(number);
        if (point === undefined) return false;
        await feed.source.connect(near.signal);
        await feed.source.verify(point, near.signal);
      }
      await checkpoints.put(shared.snapshot());
      return true;
    } catch (error) {
      log.info({ source: this.name, err: error }, 'A subscription cannot be detached now; another try follows.');
      return false;
    }
  }

  /** False where it cannot be now: all is as it was then. */
  async #join(alone: Feed, stop: AbortSignal): Promise<boolean> {
    const shared = this.#shared;
    const [member] = alone.members;
    if (!shared || !member || !shared.readsAs(alone)) return false;
    const isReached = await reaches(alone, shared, stop);
    // Looked at again in one breath with what follows: what lies between the two would be read for nobody.
    if (!isReached || !this.#mayChange(shared, alone) || !hasRead(alone.position, shared.position)) {
      alone.release();
      return false;
    }
    const number = shared.admit(member.route, alone.position!);
    using soon = new AnyOf([stop]).within(SETTLE_MS, new Error('it was not delivered in time'));
    const delivered = await alone.settle(soon.signal);
    // In one breath, so that the checkpoint knows of either and never of both.
    const standing = alone.standing(member.number);
    if (!delivered || standing === undefined || !this.#mayChange(shared, alone) || !shared.begin(number, standing)) {
      if (shared.members.some((one) => one.number === number)) shared.leave(number);
      alone.release();
      return false;
    }
    this.#takeOut(alone);
    this.#leave(alone);
    this.#o.log.info(
      { source: this.name, subscription: member.route.config.name },
      'Caught up: reading with the others again.',
    );
    return true;
  }

  #mayChange(...feeds: readonly Feed[]): boolean {
    return feeds.every((feed) => isFlowing(feed) && this.#running.has(feed));
  }

  /** Another feed delivers what it did; what is left of it goes in its own time. */
  #leave(feed: Feed): void {
    const running = this.#running.get(feed);
    running?.quit.abort(new Error('its subscription is read with the others'));
    const closing = Promise.resolve(running?.done)
      .then(async () => feed.close())
      .catch((error: unknown) => this.#o.log.info({ source: this.name, err: error }, 'A feed could not be closed.'))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

/** Its source has been reached, and it is settled for each whether it can be read from where it stands. */
function hasBegun({ started, lost }: Feed): boolean {
  return started || lost !== undefined;
}

/**
 * Resolves once `alone` is held where it has read all that `shared` has, which reads on meanwhile: of two at the end of an oplog now
 * this one is ahead, now that one. False where it did not come to that in time.
 */
async function reaches(alone: Feed, shared: Feed, stop: AbortSignal): Promise<boolean> {
  using soon = new AnyOf([stop]).within(REACH_MS, new Error('it was not reached in time'));
  const { signal } = soon;
  while (!signal.aborted) {
    await settled(
      alone.hold(() => shared.position),
      signal,
    );
    // The other may have taken a batch since.
    if (hasRead(alone.position, shared.position)) return !signal.aborted;
    alone.release();
  }
  return false;
}
