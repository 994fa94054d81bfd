/**
 * The lanes of a feed: one for each partition of each subscription, made when it is first needed. What comes for a subscription that
 * another feed still delivers for waits in front of them.
 */
import { Lane } from '../lanes/lane.ts';
import type { Run } from '../lanes/run.ts';
import type { Log } from '../observe/log.ts';
import type { HoldReason } from '../observe/status.ts';
import type { Members } from './members.ts';
import type { SetAside } from './set-aside.ts';

export interface LaneSetOptions {
  readonly members: Members;
  readonly partitions: number;
  readonly setAside: SetAside;
  readonly log: Log;
  /** Something was confirmed. */
  readonly touch: () => void;
}

/** These last until somebody has put the destination right, or made room. */
const FOR_A_PERSON: ReadonlySet<HoldReason> = new Set(['unroutable', 'refused']);

interface Waiting {
  /** The lane's. */
  readonly number: number;
  readonly run: Run;
}

export class LaneSet {
  readonly #o: LaneSetOptions;
  /** By subscription's number. */
  readonly #waiting = new Map<number, Waiting[]>();
  /** By number: `subscription * partitions + partition`. */
  readonly #lanes: (Lane | undefined)[] = [];

  constructor(options: LaneSetOptions) {
    this.#o = options;
  }

  get all(): Lane[] {
    return this.#lanes.filter((lane) => lane !== undefined);
  }

  of(subscription: number): Lane[] {
    return this.all.filter((lane) => lane.subscription === subscription);
  }

  /** Undefined as long as nothing came for it. */
  at(subscription: number, partition: number): Lane | undefined {
    return this.#lanes[subscription * this.#o.partitions + partition];
  }

  lane(number: number): Pick<Lane, 'push'> {
    const { partitions } = this.#o;
    const waiting = this.#waiting.get(Math.floor(number / partitions));
    if (waiting) return { push: (run) => void waiting.push({ number, run }) };
    return (this.#lanes[number] ??= this.#start(Math.floor(number / partitions), number % partitions));
  }

  /** Everything for this subscription waits until `release`. */
  hold(subscription: number): void {
    this.#waiting.set(subscription, []);
  }

  release(subscription: number): void {
    const waiting = this.#waiting.get(subscription) ?? [];
    this.#waiting.delete(subscription);
    for (const { number, run } of waiting) this.lane(number).push(run);
  }

  /** What they hold is dropped. */
  drop(subscription: number): void {
    this.#waiting.delete(subscription);
    for (const lane of this.of(subscription)) {
      lane.close();
      this.#lanes[subscription * this.#o.partitions + lane.partition] = undefined;
    }
  }

  #start(subscription: number, partition: number): Lane {
    const { members, setAside, log, touch } = this.#o;
    const { config, port, window, confirmTimeoutMs, meter } = members.route(subscription);
    const lane = new Lane({
      subscription,
      partition,
      port,
      window: config.order === 'strict' ? 1 : window,
      // Frames of zstd behind one another are legal, but Node's own decoder reads the first and drops the rest without a word.
      maxEvents: config.compression === 'zstd' ? 1 : config.batch.maxEvents,
      maxBytes: config.batch.maxBytes,
      lingerMs: config.batch.lingerMs,
      onUnroutable: config.onUnroutable,
      confirmTimeoutMs,
      now: () => performance.now(),
      park: (message, reason, detail) => setAside.message(lane, message, reason, detail),
      observer: {
        published: (events) => meter.published(events),
        confirmed: (messages, waitedMs) => {
          meter.confirmed(messages);
          meter.confirmSeconds.observe(waitedMs / 1000);
          touch();
        },
        refused: (messages) => meter.nacked(messages),
        returned: () => meter.returned(1),
        held: (which, hold) => {
          const fields = { subscription: config.name, partition: which };
          if (!hold) log.info(fields, 'The lane flows again.');
          else {
            const coded = { code: `held-${hold.reason}` as const, ...fields, reason: hold.reason, detail: hold.detail };
            if (FOR_A_PERSON.has(hold.reason)) log.error(coded, 'A lane is held.');
            else log.warn(coded, 'A lane is held.');
          }
        },
      },
    });
    lane.start();
    return lane;
  }
}
