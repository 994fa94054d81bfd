/**
 * Events and messages of one source on their way to the parking store.
 *
 * An event that a worker parked is in no lane, so a lane's confirms may pass it before it is on disk. Until it is, the
 * checkpoint shows the lanes as they were before (`lanesBefore`): a crash then repeats what came after it, rather than skip
 * what nobody has. A message that a lane parks keeps its place in the lane, and needs no such care.
 */
import { setMaxListeners } from 'node:events';
import { Backoff } from '../backoff.ts';
import { sleep } from '../waits.ts';
import { floorOf } from '../lanes/floors.ts';
import { compareTs } from '../source/position.ts';
import { END_INDEX } from '../worker/protocol.ts';
import { namespaceOf } from './namespace-of.ts';
import type { LanePosition, ParkedOrigin, ParkedRecord } from '../checkpoint/record.ts';
import type { LaneMessage } from '../lanes/port.ts';
import { shapeHash } from '../config/routing-hash.ts';
import type { Lane } from '../lanes/lane.ts';
import type { Ticket } from '../lanes/ledger.ts';
import type { Log } from '../observe/log.ts';
import { ParkedLog } from '../observe/parked-log.ts';
import type { ParkReason, ParkedEvent } from '../worker/protocol.ts';
import type { Members } from './members.ts';
import type { Parking, Route } from './route.ts';
import type { Standing } from './starts.ts';

export interface SetAsideOptions {
  readonly members: Members;
  readonly parking: Parking;
  readonly log: Log;
  /** How entries are read now, as far as those that are set aside must tell. */
  readonly reading: () => Pick<ParkedOrigin, 'serverVersion' | 'collated' | 'stream'>;
  /** The checkpoint may show more now. */
  readonly touch: () => void;
}

/** Of one subscription, for as long as it is there. */
interface Place {
  readonly route: Route;
  /** Fires when it leaves, or the feed is closed. */
  readonly over: AbortController;
  underWay: UnderWay | undefined;
}

interface UnderWay {
  events: number;
  readonly lanes: readonly (LanePosition | undefined)[];
}

export class SetAside {
  readonly #o: SetAsideOptions;
  readonly #places = new Map<number, Place>();
  /** By number: what came for those that another feed still delivers for. */
  readonly #held = new Map<number, { readonly event: ParkedEvent; readonly ticket: Ticket }[]>();
  readonly #told: ParkedLog;
  #closed = false;

  constructor(options: SetAsideOptions) {
    this.#o = options;
    this.#told = new ParkedLog(options.log);
  }

  /** Where this subscription's lanes stood before the oldest event that is not on disk yet; undefined when all are. */
  lanesBefore(subscription: number): readonly (LanePosition | undefined)[] | undefined {
    return this.#places.get(subscription)?.underWay?.lanes;
  }

  /**
   * Notes a batch's parked events before its messages reach the lanes; what is returned then parks them, each of which is
   * done on the ticket once it is on disk. `now` tells how a subscription stands at this moment.
   */
  begin(events: readonly ParkedEvent[], now: (subscription: number) => Standing): (ticket: Ticket) => void {
    const { members } = this.#o;
    const noted = events
      .filter(({ subscription }) => members.has(subscription) && !this.#held.has(subscription))
      .map((event) => ({ event, wanted: this.#note(event, now) }));
    return (ticket) => {
      for (const event of events) this.#held.get(event.subscription)?.push({ event, ticket });
      for (const { event, wanted } of noted) {
        if (wanted) void this.#event(wanted, event, ticket);
        else ticket.done(event.subscription, 1);
      }
    };
  }

  /** What comes for this subscription waits until `release`. */
  hold(subscription: number): void {
    this.#held.set(subscription, []);
  }

  release(subscription: number, now: (subscription: number) => Standing): void {
    const held = this.#held.get(subscription) ?? [];
    this.#held.delete(subscription);
    for (const { event, ticket } of held) this.begin([event], now)(ticket);
  }

  /** Resolves once it is on disk; rejects only when closed. */
  message(
    { subscription, partition }: Pick<Lane, 'subscription' | 'partition'>,
    message: LaneMessage,
    reason: ParkReason,
    detail: string,
  ): Promise<void> {
    const place = this.#place(subscription);
    const { contentType, config } = place.route;
    const { messageId: id, body, events, headers, routingKey, type, wallSeconds } = message;
    const record = {
      id,
      ns: namespaceOf(message, config.compression === undefined),
      reason,
      detail,
      payload: body,
      payloadKind: 'message' as const,
      contentType,
      ...(config.compression !== undefined && { contentEncoding: config.compression }),
      ...(headers !== undefined && { headers }),
      message: { routingKey, type, wallSeconds, events, partition },
    };
    return this.#park(place, record, events);
  }

  close(): void {
    this.#closed = true;
    for (const number of this.#places.keys()) this.leave(number);
    this.#told.close();
  }

  /** What it has under way is given up: who delivers for it from now on parks it again. */
  leave(subscription: number): void {
    this.#held.delete(subscription);
    this.#places.get(subscription)?.over.abort();
    this.#places.delete(subscription);
  }

  #place(number: number): Place {
    let place = this.#places.get(number);
    if (place) return place;
    place = { route: this.#o.members.route(number), over: new AbortController(), underWay: undefined };
    // All that wait for room in a full store listen to it.
    setMaxListeners(0, place.over.signal);
    if (this.#closed) place.over.abort();
    else this.#places.set(number, place);
    return place;
  }

  /** Undefined for what lies before its subscription's start: those of one source begin at different positions. */
  #note({ subscription, id }: ParkedEvent, now: (subscription: number) => Standing): Place | undefined {
    const standing = now(subscription);
    const floor = floorOf(standing);
    const at = positionOf(id);
    if (at && (compareTs(at.ts, floor.ts) || at.index - floor.index) <= 0) return undefined;
    const { lanes } = standing;
    const place = this.#place(subscription);
    if (place.underWay) place.underWay.events += 1;
    else place.underWay = { events: 1, lanes };
    return place;
  }

  async #event(place: Place, event: ParkedEvent, ticket: Ticket): Promise<void> {
    const { subscription, id, ns, reason, detail, entry, shaped, partition, whole, firstIndex } = event;
    const origin = {
      ...this.#o.reading(),
      ...(partition !== undefined && { partition }),
      ...(whole && { whole }),
      ...(firstIndex !== undefined && { firstIndex }),
      ...(shaped && { shape: shapeHash(place.route.config) }),
    };
    try {
      const payloadKind = shaped ? 'event' : 'entry';
      await this.#park(place, { id, ns, reason, detail, payload: entry, payloadKind, origin }, 1);
    } catch {
      return; // Only a stop ends the attempt, or its subscription's leaving; the event comes again.
    }
    const underWay = place.underWay!;
    underWay.events -= 1;
    if (underWay.events === 0) place.underWay = undefined;
    ticket.done(subscription, 1);
    this.#o.touch();
  }

  async #park(
    { route, over }: Place,
    record: Omit<ParkedRecord, 'subscription' | 'at'>,
    events: number,
  ): Promise<void> {
    const { config, meter } = route;
    const { id, ns, reason, detail } = record;
    this.#told.parked({ subscription: config.name, id, ns, reason, detail }, events);
    const backoff = new Backoff();
    for (;;) {
      try {
        await this.#o.parking.put({ ...record, subscription: config.name, at: Date.now() }, over.signal);
        break;
      } catch (error) {
        over.signal.throwIfAborted();
        this.#o.log.error(
          { code: 'parking-failing', subscription: config.name, id, err: error },
          'An event cannot be parked; trying on.',
        );
        await sleep(backoff.next(), over.signal);
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
