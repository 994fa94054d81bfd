/**
 * Events and messages of one source on their way to the parking store.
 *
 * An event that a worker parked is in no lane, so a lane's confirms may pass it before it is on disk. Until it is, the
 * checkpoint shows the lanes as they were before (`lanesBefore`): a crash then repeats what came after it, rather than skip
 * what nobody has. A message that a lane parks keeps its place in the lane, and needs no such care.
 */
import { setMaxListeners } from 'node:events';
import { Backoff, sleep } from '../backoff.ts';
import { floorOf } from '../lanes/floors.ts';
import { compareTs } from '../source/position.ts';
import { END_INDEX } from '../worker/protocol.ts';
import type { LanePosition, ParkedOrigin, ParkedRecord } from '../checkpoint/record.ts';
import type { LaneMessage } from '../lanes/port.ts';
import { shapeHash } from '../config/routing-hash.ts';
import type { Lane } from '../lanes/lane.ts';
import type { Ticket } from '../lanes/ledger.ts';
import type { Log } from '../observe/log.ts';
import { ParkedLog } from '../observe/parked-log.ts';
import type { ParkReason, ParkedEvent } from '../worker/protocol.ts';
import type { Parking, Route } from './route.ts';
import type { Standing } from './starts.ts';

export interface SetAsideOptions {
  readonly routes: readonly Route[];
  readonly parking: Parking;
  readonly log: Log;
  /** How entries are read now, as far as those that are set aside must tell. */
  readonly reading: () => Pick<ParkedOrigin, 'serverVersion' | 'collated' | 'stream'>;
  /** The checkpoint may show more now. */
  readonly touch: () => void;
}

interface UnderWay {
  events: number;
  readonly lanes: readonly (LanePosition | undefined)[];
}

export class SetAside {
  readonly #o: SetAsideOptions;
  readonly #underWay = new Map<number, UnderWay>();
  readonly #closed = new AbortController();
  readonly #told: ParkedLog;

  constructor(options: SetAsideOptions) {
    this.#o = options;
    this.#told = new ParkedLog(options.log);
    // All that wait for room in a full store listen to it.
    setMaxListeners(0, this.#closed.signal);
  }

  /** Where this subscription's lanes stood before the oldest event that is not on disk yet; undefined when all are. */
  lanesBefore(subscription: number): readonly (LanePosition | undefined)[] | undefined {
    return this.#underWay.get(subscription)?.lanes;
  }

  /**
   * Notes a batch's parked events before its messages reach the lanes; what is returned then parks them, each of which is
   * done on the ticket once it is on disk. `now` tells how a subscription stands at this moment.
   */
  begin(events: readonly ParkedEvent[], now: (subscription: number) => Standing): (ticket: Ticket) => void {
    const noted = events.map((event) => ({ event, wanted: this.#note(event, now) }));
    return (ticket) => {
      for (const { event, wanted } of noted) {
        if (wanted) void this.#event(event, ticket);
        else ticket.done(event.subscription, 1);
      }
    };
  }

  /** Resolves once it is on disk; rejects only when closed. */
  message(
    { subscription, partition }: Pick<Lane, 'subscription' | 'partition'>,
    message: LaneMessage,
    reason: ParkReason,
    detail: string,
  ): Promise<void> {
    const { contentType, config } = this.#o.routes[subscription]!;
    const { messageId: id, body, events, headers, routingKey, type, wallSeconds } = message;
    const record = {
      id,
      ns: '',
      reason,
      detail,
      payload: body,
      payloadKind: 'message' as const,
      contentType,
      ...(config.compression !== undefined && { contentEncoding: config.compression }),
      ...(headers !== undefined && { headers }),
      message: { routingKey, type, wallSeconds, events, partition },
    };
    return this.#park(subscription, record, events);
  }

  close(): void {
    this.#closed.abort();
    this.#told.close();
  }

  /** False for what lies before its subscription's start: those of one source begin at different positions. */
  #note({ subscription, id }: ParkedEvent, now: (subscription: number) => Standing): boolean {
    const standing = now(subscription);
    const floor = floorOf(standing);
    const at = positionOf(id);
    if (at && (compareTs(at.ts, floor.ts) || at.index - floor.index) <= 0) return false;
    const { lanes } = standing;
    const underWay = this.#underWay.get(subscription);
    if (underWay) underWay.events += 1;
    else this.#underWay.set(subscription, { events: 1, lanes });
    return true;
  }

  async #event(event: ParkedEvent, ticket: Ticket): Promise<void> {
    const { subscription, id, ns, reason, detail, entry, shaped, partition, whole, firstIndex } = event;
    const origin = {
      ...this.#o.reading(),
      ...(partition !== undefined && { partition }),
      ...(whole && { whole }),
      ...(firstIndex !== undefined && { firstIndex }),
      ...(shaped && { shape: shapeHash(this.#o.routes[subscription]!.config) }),
    };
    try {
      const payloadKind = shaped ? 'event' : 'entry';
      await this.#park(subscription, { id, ns, reason, detail, payload: entry, payloadKind, origin }, 1);
    } catch {
      return; // Only a stop ends the attempt; the event comes again at the next start.
    }
    const underWay = this.#underWay.get(subscription)!;
    underWay.events -= 1;
    if (underWay.events === 0) this.#underWay.delete(subscription);
    ticket.done(subscription, 1);
    this.#o.touch();
  }

  async #park(subscription: number, record: Omit<ParkedRecord, 'subscription' | 'at'>, events: number): Promise<void> {
    const { config, meter } = this.#o.routes[subscription]!;
    const { id, ns, reason, detail } = record;
    this.#told.parked({ subscription: config.name, id, ns, reason, detail }, events);
    const backoff = new Backoff();
    for (;;) {
      try {
        await this.#o.parking.put({ ...record, subscription: config.name, at: Date.now() }, this.#closed.signal);
        break;
      } catch (error) {
        this.#closed.signal.throwIfAborted();
        this.#o.log.error(
          { code: 'parking-failing', subscription: config.name, id, err: error },
          'An event cannot be parked; trying on.',
        );
        await sleep(backoff.next(), this.#closed.signal);
      }
    }
    meter.parked(reason, events);
  }
}

/** The position inside an event's `_id`; undefined for an entry so damaged that it has none. */
function positionOf(id: string): LanePosition | undefined {
  const [, seconds, increment, index] = /:(\d+)\.(\d+)\.(\d+|begin|end)$/.exec(id) ?? [];
  if (seconds === undefined) return undefined;
  // A word stands for what comes with the whole transaction: behind any of its operations, where in doubt.
  const number = Number(index);
  return {
    ts: { seconds: Number(seconds), increment: Number(increment) },
    index: Number.isNaN(number) ? END_INDEX : number,
  };
}
