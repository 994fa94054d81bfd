/**
 * One engine at a time for each subscription, wherever they run: an exclusive queue, which RabbitMQ gives to one connection only
 * and takes back when that connection ends. Before the first message of a life it is settled: held; or not to be had for a
 * reason that says nothing about another engine, which is a warning; or another engine has it, which after a while is refused.
 *
 * It is no fence. The broker does not hold a message against the lock, so an engine that was cut off and one that took over may
 * both deliver for a while: a connection that was lost is made again without waiting for the lock, which may still be held by
 * the remains of that very connection. If another engine does have it by then, both go on, loudly: the one that stopped might
 * leave a gap, where two only repeat.
 */
import { createHash } from 'node:crypto';
import { endsWithin, sleep } from '../waits.ts';
import { Signal, stopped } from './signal.ts';
import { UserError } from '../errors.ts';
import { MAX_SHORT_STRING } from '../config/limits.ts';
import { amqpCode } from './topology.ts';
import type { Channel, ChannelModel } from 'amqplib';
import type { SinkConfig } from '../config/config.ts';
import type { LanePort } from '../lanes/port.ts';
import type { Log } from '../observe/log.ts';
import type { AmqpConnection } from './amqp-connection.ts';

export interface SinkLockOptions {
  readonly config: Pick<SinkConfig, 'name' | 'heartbeatMs'>;
  /** Those that publish to it, by name. */
  readonly subscriptions: readonly string[];
  /** The sink's first, which is never refused. */
  readonly connection: Pick<AmqpConnection, 'connected' | 'whileOpen'>;
  readonly log: Log;
  /** How long another engine may have it before that is an error. By then a dead host's connection has missed its heartbeats. */
  readonly waitMs?: number | undefined;
}

const WAIT_MS = 60_000;
/** RabbitMQ looks once an interval, and gives up a connection when it saw nothing for two of them: within three of the last byte. */
const MISSED_HEARTBEATS = 3;
const MARGIN_MS = 5_000;
const POLL_MS = 500;
/** Of one that is left. */
const RELEASE_MS = 2_000;
const REMAINS_POLL_MS = 100;
/** For so long what is left of an engine that was just killed may stand in the way, and the lock is taken once it is free. */
const REMAINS_MS = 2_000;
/** Behind that, it is taken only when it stayed free: its holder may just be connecting again. */
const LEFT_ALONE_MS = 3_000;

const NOT_FOUND = 404;
const RESOURCE_LOCKED = 405;

type Answer =
  | { readonly kind: 'held' | 'free' }
  /** `said`: the broker's words; `unanswered`: it was not asked, for want of a connection or a channel. */
  | { readonly kind: 'taken' | 'impossible' | 'unanswered'; readonly said: string };

/** Why a subscription is not as it should be, for people. */
export interface LockTrouble {
  readonly code: 'engine-elsewhere' | 'lock-impossible';
  readonly text: string;
}

interface Lock {
  readonly subscription: string;
  /** It is wanted no more. */
  readonly left: AbortController;
  /** Empty until it is known which replica set is read. */
  queue: string;
  /** Resolves once its queue's name is known. */
  readonly named: Signal;
  /** Resolves once lanes may publish. */
  readonly settled: Signal;
  /** The connection that has it. */
  holder: ChannelModel | undefined;
  taking: Promise<void> | undefined;
  /** Ends once it is wanted no more. */
  keeping: Promise<void> | undefined;
  trouble: LockTrouble | undefined;
}

function newLock(subscription: string): Lock {
  return {
    subscription,
    left: new AbortController(),
    queue: '',
    named: new Signal(),
    settled: new Signal(),
    holder: undefined,
    taking: undefined,
    keeping: undefined,
    trouble: undefined,
  };
}

export class SinkLock {
  readonly #o: SinkLockOptions;
  readonly #waitMs: number;
  readonly #locks: Map<string, Lock>;

  constructor(options: SinkLockOptions) {
    this.#o = options;
    this.#waitMs = options.waitMs ?? lockWaitMs(options.config.heartbeatMs);
    this.#locks = new Map(options.subscriptions.map((subscription) => [subscription, newLock(subscription)]));
  }

  /** What stands in the way of this subscription: another engine, or that nobody can be asked; undefined while nothing does. */
  trouble(subscription: string): LockTrouble | undefined {
    return this.#locks.get(subscription)?.trouble;
  }

  /** Which replica set a subscription reads is known only once its source is connected; its lock is tried from then on. */
  identify(subscription: string, replicaSetId: string): void {
    const lock = this.#locks.get(subscription);
    if (!lock) return;
    lock.queue = lockName(replicaSetId, subscription);
    lock.named.fire();
  }

  /** Keeps lanes from publishing before the lock is settled. */
  guard(subscription: string, port: LanePort): LanePort {
    const { settled } = this.#locks.get(subscription)!;
    return {
      open: async (listener, stop) => {
        await settled.fired(stop);
        return port.open(listener, stop);
      },
      mend: () => port.mend(),
    };
  }

  /** Resolves once every lock is settled, or at `stop`; keeps them until then. Throws `UserError` where another engine has one. */
  async run(stop: AbortSignal): Promise<void> {
    await Promise.all([...this.#locks.values()].map(async (lock) => this.#run(lock, stop, this.#waitMs)));
  }

  /** One more, while the others flow: where another engine has it, that is waited out. */
  join(subscription: string, stop: AbortSignal): void {
    const lock = newLock(subscription);
    this.#locks.set(subscription, lock);
    void this.#run(lock, stop, Infinity);
  }

  /** Another engine may have it. Its lanes are closed. */
  async leave(subscription: string): Promise<void> {
    const lock = this.#locks.get(subscription);
    if (!lock) return;
    this.#locks.delete(subscription);
    lock.left.abort();
    // A blocked broker may not answer: it goes with its connection then, at the latest.
    await endsWithin(
      RELEASE_MS,
      this.#release(lock).catch(() => undefined),
    );
  }

  /** Once nothing asks for it any more. */
  async #release(lock: Lock): Promise<void> {
    await Promise.allSettled([lock.taking, lock.keeping]);
    const { holder } = lock;
    if (holder === undefined) return;
    const { connection } = this.#o;
    const channel = await connection.whileOpen(holder, holder.createChannel());
    channel.on('error', () => {});
    await connection.whileOpen(holder, channel.deleteQueue(lock.queue));
    await connection.whileOpen(holder, channel.close());
  }

  async #run(lock: Lock, stop: AbortSignal, waitMs: number): Promise<void> {
    lock.taking = this.#take(lock, stop, waitMs);
    await lock.taking;
  }

  async #take(lock: Lock, stop: AbortSignal, waitMs: number): Promise<void> {
    const ends = AbortSignal.any([stop, lock.left.signal]);
    try {
      await lock.named.fired(ends);
      lock.holder = await this.#takeFirst(lock, ends, waitMs);
      lock.settled.fire();
      if (lock.holder) lock.keeping = this.#keep(lock, lock.holder, ends).catch(() => undefined);
    } catch (error) {
      if (error instanceof UserError || !ends.aborted) throw error;
    }
  }

  /** The connection that holds it; undefined where it cannot be had, and never will. */
  async #takeFirst(lock: Lock, stop: AbortSignal, waitMs: number): Promise<ChannelModel | undefined> {
    let takenSince: number | undefined;
    let freeSince: number | undefined;
    let unansweredOn: ChannelModel | undefined;
    for (;;) {
      const model = await this.#connected(stop);
      const now = performance.now();
      const shy =
        takenSince !== undefined &&
        now - takenSince > REMAINS_MS &&
        (freeSince === undefined || now - freeSince < LEFT_ALONE_MS);
      const answer = await this.#ask(model, lock, shy ? 'look' : 'take');
      switch (answer.kind) {
        case 'held':
          lock.trouble = undefined;
          if (takenSince !== undefined) this.#o.log.info(this.#fields(lock), 'No other engine has the lock any more.');
          return model;
        case 'free':
          freeSince ??= now;
          break;
        case 'taken':
          freeSince = undefined;
          if (takenSince === undefined) {
            takenSince = now;
            lock.trouble = elsewhere('another engine delivers it; waiting for that one to end');
            this.#o.log.warn(
              {
                code: 'engine-elsewhere',
                ...this.#fields(lock),
                ...(waitMs < Infinity && { waitSeconds: Math.round(waitMs / 1000) }),
              },
              'Another engine delivers this subscription; waiting for it to end.',
            );
          }
          if (now - takenSince >= waitMs) throw this.#refusal(lock, answer.said);
          break;
        case 'impossible':
          this.#goOnWithout(lock, answer.said);
          return undefined;
        case 'unanswered':
          // With the connection still there the next time, it was not that it went.
          if (model === unansweredOn) this.#sayNoChannel(lock, answer.said);
          unansweredOn = model;
          break;
      }
      const mayBeRemains = takenSince !== undefined && now - takenSince < REMAINS_MS;
      await sleep(mayBeRemains ? REMAINS_POLL_MS : POLL_MS, stop);
    }
  }

  /** With each new connection it is taken again, while the lanes flow already. Ends at `stop`. */
  async #keep(lock: Lock, held: ChannelModel, stop: AbortSignal): Promise<void> {
    const { log, connection } = this.#o;
    for (let model = held; ;) {
      const lost = connection.whileOpen(model, new Promise<never>(() => {})).catch(() => undefined);
      await Promise.race([lost, stopped(stop)]);
      if (stop.aborted) return;
      let takenSince: number | undefined;
      let unansweredOn: ChannelModel | undefined;
      for (;;) {
        model = await this.#connected(stop);
        const answer = await this.#ask(model, lock, 'take');
        if (answer.kind === 'held') {
          lock.holder = model;
          break;
        }
        if (answer.kind === 'impossible') {
          // Since it was held a right was revoked, or the broker has no room: until the next connection nothing can be told.
          this.#goOnWithout(lock, answer.said);
          break;
        }
        if (answer.kind === 'unanswered') {
          if (model === unansweredOn) this.#sayNoChannel(lock, answer.said);
          unansweredOn = model;
        }
        if (answer.kind === 'taken') {
          takenSince ??= performance.now();
          if (performance.now() - takenSince >= this.#waitMs && lock.trouble?.code !== 'engine-elsewhere') {
            lock.trouble = elsewhere(
              'another engine delivers it as well, since our connection was lost for a moment: stop one of them',
            );
            log.error(
              { code: 'engine-elsewhere', ...this.#fields(lock) },
              'Another engine took over this subscription while our connection was lost. Both deliver it now: everything comes twice, ' +
                'and not in one order. Stop one of them; this one goes on, as it knows what it has delivered.',
            );
          }
        }
        await sleep(POLL_MS, stop);
      }
      if (lock.trouble?.code === 'engine-elsewhere')
        log.info(this.#fields(lock), 'No other engine has the lock any more.');
      lock.trouble = undefined;
    }
  }

  #goOnWithout(lock: Lock, said: string): void {
    lock.trouble = undefined;
    this.#o.log.warn(
      { code: 'lock-impossible', ...this.#fields(lock), reason: said },
      'Whether another engine delivers this subscription cannot be told: the lock cannot be declared. Going on. Grant ' +
        `the user \`configure\` on "^tailrace\\.lock\\." (docs/security.md), or set \`sinks.${this.#o.config.name}.lock: false\`.`,
    );
  }

  #sayNoChannel(lock: Lock, said: string): void {
    if (lock.trouble !== undefined) return;
    const text = `RabbitMQ cannot be asked whether another engine delivers it: no channel can be had (${said}); trying on`;
    lock.trouble = { code: 'lock-impossible', text };
    this.#o.log.warn(
      { code: 'lock-impossible', ...this.#fields(lock), reason: said },
      'Whether another engine delivers this subscription cannot be asked, as no channel can be had; trying on. Most likely the connection ' +
        "has as many channels as it may have: raise the broker's `channel_max`, let fewer subscriptions share this sink, " +
        `or spread their lanes with \`sinks.${this.#o.config.name}.connections\`.`,
    );
  }

  async #connected(stop: AbortSignal): Promise<ChannelModel> {
    const model = await this.#o.connection.connected(stop);
    if (!model || stop.aborted) throw new Error('stopped');
    return model;
  }

  /** On a channel of its own, which the broker closes when the answer is no. The queue stays with the connection. */
  async #ask(model: ChannelModel, { queue }: Lock, how: 'look' | 'take'): Promise<Answer> {
    const { connection } = this.#o;
    const ask = (channel: Channel): Promise<unknown> =>
      how === 'look'
        ? channel.checkQueue(queue)
        : // Named, or a virtual host's default could make it a kind that cannot be exclusive.
          channel.assertQueue(queue, { exclusive: true, durable: false, arguments: { 'x-queue-type': 'classic' } });
    try {
      const channel = await connection.whileOpen(model, model.createChannel());
      channel.on('error', () => {});
      await connection.whileOpen(model, ask(channel));
      await connection.whileOpen(model, channel.close());
      return { kind: 'held' };
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      switch (amqpCode(error)) {
        case undefined:
          return { kind: 'unanswered', said };
        case NOT_FOUND:
          return { kind: 'free' };
        case RESOURCE_LOCKED:
          return { kind: 'taken', said };
        default:
          return { kind: 'impossible', said };
      }
    }
  }

  #refusal({ subscription, queue }: Lock, said: string): UserError {
    const sink = this.#o.config.name;
    return new UserError(
      'subscription-locked',
      `subscription "${subscription}": another engine delivers it already. It has held the lock, queue "${queue}" on sink "${sink}", for ` +
        `${Math.round(this.#waitMs / 1000)} s (${said}). Two at a time would deliver everything twice, and not in one order. Stop the ` +
        'other one: `rabbitmqctl list_queues name owner_pid` and `rabbitmqctl list_connections pid peer_host client_properties` tell where ' +
        'it runs. If it reads another replica set of the same name, grant both `find` on local.system.replset, or set ' +
        `\`sinks.${sink}.lock: false\`.`,
    );
  }

  #fields({ subscription, queue }: Lock): { readonly sink: string; readonly subscription: string; lock: string } {
    return { sink: this.#o.config.name, subscription, lock: queue };
  }
}

/** How long the lock of an engine whose host died may live on, by the longest heartbeat that the broker may agree to. */
export function lockWaitMs(heartbeatMs: number): number {
  return Math.max(WAIT_MS, MISSED_HEARTBEATS * heartbeatMs + MARGIN_MS);
}

function elsewhere(text: string): LockTrouble {
  return { code: 'engine-elsewhere', text };
}

const PREFIX = 'tailrace.lock.';

export function lockName(replicaSetId: string, subscription: string): string {
  const name = `${PREFIX}${replicaSetId}.${subscription}`;
  if (Buffer.byteLength(name) <= MAX_SHORT_STRING) return name;
  return PREFIX + createHash('sha256').update(name).digest('hex');
}
