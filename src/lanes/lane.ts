/**
 * The ordered way of one partition of one subscription to its sink.
 *
 * A lane holds a queue of runs (what the workers made, not yet touched) and a window of messages that are under way. The
 * window is a contiguous piece of the lane: messages enter it behind and leave it in front, only once they are confirmed (or
 * parked), so what is behind the front is never counted before it. `confirmed` is the last operation that left.
 *
 *     opening ──▶ open ──nack, return──▶ draining ──all answered──▶ held ──backoff──▶ open, from the first undelivered
 *        ▲          └──closed by the other end──▶ opening, or held first when it was this lane's own fault
 *
 * After a nack or a return, later messages may already be in the queue. So the lane waits until everything under way has been
 * answered, and sends again from the first undelivered one: the last delivery of every change is in order. It begins again
 * with one message at a time and doubles with each success, so that a queue that is still full is not flooded with repeats.
 * A lost channel leaves a prefix in its queue, and is sent again from the first unconfirmed one likewise.
 */
import { Backoff } from '../backoff.ts';
import { composeMessage, recordEnd, recordField } from './run.ts';
import { Field } from '../worker/protocol.ts';
import type { HoldReason } from '../observe/status.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { Delivery, Run } from './run.ts';
import type { LaneMessage, LanePort, OpenPort, PortFault, PortListener } from './port.ts';

export interface LaneOptions {
  readonly subscription: number;
  readonly partition: number;
  readonly port: LanePort;
  /** Unconfirmed messages at most. */
  readonly window: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly lingerMs: number;
  readonly onUnroutable: 'hold' | 'park';
  readonly confirmTimeoutMs: number;
  /** Sets a message aside; resolves once it is safe on disk. */
  readonly park: (message: LaneMessage, reason: 'refused' | 'unroutable', detail: string) => Promise<void>;
  readonly observer: LaneObserver;
  readonly now: () => number;
}

/** Told of what an operator counts; called once per group, never allocates. */
export interface LaneObserver {
  published(events: number): void;
  /** `waitedMs`: of the oldest message in the group, from publish to confirm. */
  confirmed(messages: number, waitedMs: number): void;
  refused(messages: number): void;
  returned(): void;
  /** Nothing passes from now on, and why; undefined: it flows again. */
  held(partition: number, hold: Hold | undefined): void;
}

/** Why nothing passes. */
export interface Hold {
  readonly reason: HoldReason;
  /** For people. */
  readonly detail: string;
  /** `now()` when it began. */
  readonly since: number;
}

type LaneState = 'opening' | 'open' | 'draining' | 'held' | 'stopped';

interface InFlight {
  readonly message: LaneMessage;
  readonly parts: readonly { readonly delivery: Delivery; readonly record: number }[];
  answer: 'none' | 'delivered' | 'undelivered' | 'parking' | 'parked';
  returnedFor: string | undefined;
  sentAt: number;
}

/** RabbitMQ's code for a message that the broker itself will not take: too large, most often. */
const PRECONDITION_FAILED = 406;

export class Lane implements PortListener {
  readonly subscription: number;
  readonly partition: number;
  readonly #o: LaneOptions;
  readonly #stop = new AbortController();
  #state: LaneState = 'opening';
  #hold: Hold | undefined;
  #port: OpenPort | undefined;
  /** Guards against answers of a way that is no longer ours. */
  #epoch = 0;

  #queue: Run[] = [];
  #queued = 0;
  #window: InFlight[] = [];
  /** `#window[0 … #sent)` were published in this round; their tags are `#frontTag + i`. */
  #sent = 0;
  #unanswered = 0;
  #frontTag = 1;
  #nextTag = 1;
  #limit: number;
  readonly #backoff = new Backoff();
  #preparing = false;
  #confirmed: LanePosition | undefined;
  #lastProgress = 0;
  #timer: NodeJS.Timeout | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;
  /** Until when the front of the queue may wait for company; undefined when it has not begun to. */
  #lingerUntil: number | undefined;
  #quiet: (() => void) | undefined;

  constructor(options: LaneOptions) {
    this.#o = options;
    this.subscription = options.subscription;
    this.partition = options.partition;
    this.#limit = options.window;
  }

  /** The last operation of the gapless confirmed prefix in this life; undefined before the first. */
  get confirmedPosition(): LanePosition | undefined {
    return this.#confirmed;
  }

  get queued(): number {
    return this.#queued + this.#window.length - this.#sent;
  }

  get unconfirmed(): number {
    return this.#unanswered;
  }

  /** Why nothing passes; it stays until a message is confirmed again, not merely tried. */
  get hold(): Hold | undefined {
    return this.#hold;
  }

  /** When the oldest unanswered message was sent; undefined when all are answered. */
  get waitingSince(): number | undefined {
    for (let i = 0; i < this.#sent; i++) if (this.#window[i]!.answer === 'none') return this.#window[i]!.sentAt;
    return undefined;
  }

  start(): void {
    void this.#open();
  }

  /** Takes a batch's messages; they go as soon as the window lets them. */
  push(run: Run): void {
    if (this.#state === 'stopped') return;
    this.#queue.push(run);
    this.#queued += run.to - run.next;
    this.#pump();
  }

  /** Publishes nothing more; resolves when all that is under way has been answered (or the way to the answers is lost). */
  async drain(): Promise<void> {
    this.#state = 'stopped';
    clearTimeout(this.#timer);
    clearTimeout(this.#lingerTimer);
    if (this.#port && this.#pendingAnswers() > 0) await new Promise<void>((resolve) => (this.#quiet = resolve));
  }

  close(): void {
    this.#state = 'stopped';
    clearTimeout(this.#timer);
    clearTimeout(this.#lingerTimer);
    this.#stop.abort();
    this.#epoch++;
    this.#port?.close();
    this.#port = undefined;
    this.#quiet?.();
  }

  /** Called about every second: a confirm that never comes is a way that is broken, though it looks open. */
  checkOverdue(now: number): void {
    if (!this.#port?.ready || this.#unanswered === 0) {
      this.#lastProgress = now;
      return;
    }
    if (now - this.#lastProgress < this.#o.confirmTimeoutMs) return;
    const port = this.#port;
    const detail = `no confirm came within ${this.#o.confirmTimeoutMs} ms`;
    this.#lost({ kind: 'channel', code: undefined, reason: detail }, 'confirm-timeout');
    port.close();
  }

  confirmed(tag: number, multiple: boolean): void {
    this.#answer(tag, multiple, 'delivered');
  }

  refused(tag: number, multiple: boolean): void {
    this.#o.observer.refused(multiple ? Math.max(1, tag - this.#frontTag + 1) : 1);
    this.#answer(tag, multiple, 'undelivered');
  }

  returned(messageId: string, reason: string): void {
    this.#o.observer.returned();
    for (let i = 0; i < this.#sent; i++) {
      const flight = this.#window[i]!;
      if (flight.answer === 'none' && flight.returnedFor === undefined && flight.message.messageId === messageId) {
        flight.returnedFor = reason;
        return;
      }
    }
  }

  writable(): void {
    this.#lastProgress = this.#o.now();
    this.#pump();
  }

  closed(fault: PortFault): void {
    this.#lost(fault, 'refused');
  }

  #lost(fault: PortFault, reason: HoldReason): void {
    this.#epoch++;
    this.#port = undefined;
    const alone = this.#unanswered === 1 && this.#limit === 1;
    this.#beginRound();
    if (this.#state === 'stopped') {
      this.#quiet?.();
      return;
    }
    if (fault.kind === 'connection') {
      void this.#open();
      return;
    }
    // The broker refuses one of the messages under way and does not say which: sent one by one, the one that closes the
    // channel while it is alone is the one.
    this.#limit = 1;
    if (fault.code === PRECONDITION_FAILED && alone && this.#window.length > 0) {
      this.#park(this.#window[0]!, 'refused', fault.reason);
    }
    this.#holdFor(reason, fault.reason);
  }

  async #open(): Promise<void> {
    this.#state = 'opening';
    const epoch = ++this.#epoch;
    try {
      const port = await this.#o.port.open(this.#guarded(epoch), this.#stop.signal);
      if (epoch !== this.#epoch || this.#isStopped()) {
        port.close();
        return;
      }
      this.#port = port;
      this.#nextTag = 1;
      this.#beginRound();
      this.#lastProgress = this.#o.now();
      this.#flow();
    } catch (error) {
      if (epoch !== this.#epoch || this.#isStopped()) return;
      this.#holdFor('refused', faultReason(error));
    }
  }

  /** The listener of one incarnation of the way: a late answer of an older one must not be taken for a newer one's. */
  #guarded(epoch: number): PortListener {
    const lane = this as Lane;
    return {
      confirmed: (tag, multiple) => epoch === lane.#epoch && lane.confirmed(tag, multiple),
      refused: (tag, multiple) => epoch === lane.#epoch && lane.refused(tag, multiple),
      returned: (messageId, reason) => epoch === lane.#epoch && lane.returned(messageId, reason),
      writable: () => epoch === lane.#epoch && lane.writable(),
      closed: (fault) => epoch === lane.#epoch && lane.closed(fault),
    };
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  /** Everything in the window is to be sent (again), from the front. */
  #beginRound(): void {
    this.#window = this.#window.filter((flight) => flight.answer !== 'parked');
    for (const flight of this.#window) {
      if (flight.answer !== 'parking') flight.answer = 'none';
      flight.returnedFor = undefined;
    }
    this.#sent = 0;
    this.#unanswered = 0;
    this.#frontTag = this.#nextTag;
  }

  #flow(): void {
    this.#state = 'open';
    if (this.#window.length === 0 && this.#queue.length === 0) this.#setHold(undefined);
    this.#pump();
  }

  #holdFor(reason: HoldReason, detail: string): void {
    this.#state = 'held';
    this.#setHold({ reason, detail });
    this.#timer = setTimeout(() => void this.#retry(), this.#backoff.next());
  }

  #setHold(hold: Omit<Hold, 'since'> | undefined): void {
    if (hold?.reason === this.#hold?.reason) return;
    this.#hold = hold && { ...hold, since: this.#hold?.since ?? this.#o.now() };
    this.#o.observer.held(this.partition, this.#hold);
  }

  async #retry(): Promise<void> {
    if (this.#isStopped()) return;
    try {
      await this.#o.port.mend();
    } catch {
      // What is wrong with the destination shows again with the next message, and then holds the lane with its own reason.
    }
    if (this.#state !== 'held') return;
    if (!this.#port) {
      await this.#open();
      return;
    }
    this.#beginRound();
    this.#flow();
  }

  #pump(): void {
    const port = this.#port;
    if (this.#state !== 'open' || !port || this.#preparing) return;
    let events = 0;
    while (this.#sent < this.#limit && port.ready) {
      if (this.#sent === this.#window.length && !this.#take()) break;
      const flight = this.#window[this.#sent]!;
      if (flight.answer === 'parking') break;
      const preparing = port.prepare(flight.message.routingKey);
      if (preparing) {
        void this.#prepare(preparing);
        break;
      }
      flight.sentAt = this.#o.now();
      if (this.#unanswered === 0) this.#lastProgress = flight.sentAt;
      this.#sent++;
      this.#unanswered++;
      this.#nextTag++;
      events += flight.message.events;
      port.publish(flight.message);
      // A port may fail while it is being written to.
      if (this.#port !== port) break;
    }
    if (events > 0) this.#o.observer.published(events);
  }

  async #prepare(preparing: Promise<void>): Promise<void> {
    this.#preparing = true;
    const epoch = this.#epoch;
    try {
      await preparing;
    } catch (error) {
      this.#preparing = false;
      if (epoch === this.#epoch && this.#state === 'open') {
        this.#drainFirst('refused', faultReason(error));
      }
      return;
    }
    this.#preparing = false;
    this.#pump();
  }

  /** Moves the next message from the queue into the window; false when there is none, or it may wait for company. */
  #take(): boolean {
    const run = this.#queue[0];
    if (!run) return false;
    const { maxEvents, maxBytes, lingerMs } = this.#o;
    const parts = [{ delivery: run.delivery, record: run.next }];
    if (maxEvents > 1) {
      // A backlog fills messages by itself: what was cut at a batch's end is joined with what followed it.
      let events = recordField(run.delivery, run.next, Field.events);
      let bytes = recordField(run.delivery, run.next, Field.length);
      const key = run.delivery.routingKeys[recordField(run.delivery, run.next, Field.routingKey)];
      let full = false;
      let record = run.next + 1;
      let at = 0;
      while (!full && at < this.#queue.length) {
        const next = this.#queue[at]!;
        if (at > 0) record = next.next;
        while (record < next.to) {
          const moreEvents = recordField(next.delivery, record, Field.events);
          const moreBytes = recordField(next.delivery, record, Field.length);
          full =
            events + moreEvents > maxEvents ||
            bytes + moreBytes > maxBytes ||
            next.delivery.routingKeys[recordField(next.delivery, record, Field.routingKey)] !== key;
          if (full) break;
          events += moreEvents;
          bytes += moreBytes;
          parts.push({ delivery: next.delivery, record });
          record++;
        }
        at++;
      }
      full ||= events >= maxEvents || bytes >= maxBytes;
      if (!full && lingerMs > 0 && this.#lingers()) return false;
    }
    this.#lingerUntil = undefined;
    clearTimeout(this.#lingerTimer);
    for (let taken = 0; taken < parts.length; taken++) {
      const front = this.#queue[0]!;
      front.next++;
      if (front.next === front.to) this.#queue.shift();
    }
    this.#queued -= parts.length;
    this.#window.push({ message: composeMessage(parts), parts, answer: 'none', returnedFor: undefined, sentAt: 0 });
    return true;
  }

  /** True while the message at the front of the queue may go on waiting for others. */
  #lingers(): boolean {
    const now = this.#o.now();
    if (this.#lingerUntil === undefined) {
      this.#lingerUntil = now + this.#o.lingerMs;
      this.#lingerTimer = setTimeout(() => this.#pump(), this.#o.lingerMs + 1);
    }
    return now < this.#lingerUntil;
  }

  #answer(tag: number, multiple: boolean, answer: 'delivered' | 'undelivered'): void {
    const last = tag - this.#frontTag;
    const waited = this.#window[0]?.sentAt ?? 0;
    for (let i = multiple ? 0 : last; i <= last; i++) {
      const flight = this.#window[i];
      // Answers of an earlier round have lower tags than the front's; there are none, as rounds end when all is answered.
      if (i < 0 || !flight || i >= this.#sent || flight.answer !== 'none') continue;
      this.#unanswered--;
      if (answer === 'delivered' && flight.returnedFor === undefined) flight.answer = 'delivered';
      else if (answer === 'delivered' && this.#o.onUnroutable === 'park') {
        this.#park(flight, 'unroutable', flight.returnedFor!);
      } else {
        flight.answer = 'undelivered';
        if (flight.returnedFor === undefined) {
          this.#drainFirst('nacked', 'the broker refused the message (basic.nack); a full queue does so');
        } else this.#drainFirst('unroutable', flight.returnedFor);
      }
    }
    const now = this.#o.now();
    this.#lastProgress = now;
    const left = this.#dropSettled();
    if (left > 0) {
      this.#o.observer.confirmed(left, now - waited);
      this.#backoff.reset();
      if (this.#limit < this.#o.window) this.#limit = Math.min(this.#o.window, this.#limit * 2);
      if (this.#state === 'open') this.#setHold(undefined);
    }
    if (this.#state === 'draining') this.#holdWhenQuiet();
    else this.#pump();
    if (this.#isStopped()) this.#endDrain();
  }

  #drainFirst(reason: HoldReason, detail: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#setHold({ reason, detail });
    this.#limit = 1;
    this.#holdWhenQuiet();
  }

  #holdWhenQuiet(): void {
    const { reason, detail } = this.#hold!;
    if (this.#unanswered === 0) this.#holdFor(reason, detail);
  }

  /** Messages leave the window in front, in order, once they need nothing more. */
  #dropSettled(): number {
    let n = 0;
    while (n < this.#window.length && isSettled(this.#window[n]!)) n++;
    if (n === 0) return 0;
    const gone = this.#window.splice(0, n);
    this.#sent -= n;
    this.#frontTag += n;
    const end = gone[n - 1]!.parts.at(-1)!;
    this.#confirmed = recordEnd(end.delivery, end.record);
    for (const flight of gone) if (flight.answer === 'delivered') this.#done(flight);
    return n;
  }

  #done(flight: InFlight): void {
    for (const part of flight.parts) part.delivery.ticket.done(this.subscription, 1);
  }

  /** Sets one message aside; those behind it go on. */
  #park(flight: InFlight, reason: 'refused' | 'unroutable', detail: string): void {
    flight.answer = 'parking';
    void this.#o.park(flight.message, reason, detail).then(
      () => this.#parked(flight),
      () => {
        // Only a stop ends the attempt to park; the message comes again at the next start.
        this.#quiet?.();
      },
    );
  }

  #parked(flight: InFlight): void {
    flight.answer = 'parked';
    this.#done(flight);
    // Sent and answered, it keeps its place (and its tag) until it is in front; not sent in this round, it needs none.
    const at = this.#window.indexOf(flight);
    if (at >= this.#sent) this.#window.splice(at, 1);
    this.#dropSettled();
    if (this.#isStopped()) this.#endDrain();
    else this.#pump();
  }

  #endDrain(): void {
    if (this.#pendingAnswers() === 0) this.#quiet?.();
  }

  #pendingAnswers(): number {
    let parking = 0;
    for (const flight of this.#window) if (flight.answer === 'parking') parking++;
    return this.#unanswered + parking;
  }
}

function isSettled(flight: InFlight): boolean {
  return flight.answer === 'delivered' || flight.answer === 'parked';
}

function faultReason(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'reason' in error) return String(error.reason);
  return error instanceof Error ? error.message : String(error);
}
