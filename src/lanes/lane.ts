/**
 * The ordered way of one partition of one subscription to its sink: what waits (`intake.ts`), what is under way
 * (`window.ts`), and when to send. `confirmedPosition` is the last operation of the gapless confirmed prefix.
 *
 *     opening ──▶ open ──nack, return──▶ draining ──all answered──▶ held ──backoff──▶ open, from the first undelivered
 *        ▲          └──closed by the other end──▶ opening, or held first when it was this lane's own fault
 *
 * After a nack or a return, later messages may already be in the queue. So the lane waits until everything under way has been
 * answered, and sends again from the first undelivered one: the last delivery of every change is in order. It begins again
 * with one message at a time and doubles with each success, so that a queue that is still full is not flooded with repeats.
 * A lost channel leaves a prefix in its queue, and is sent again from the first unconfirmed one likewise.
 *
 * At a gate the lane waits until nothing of its own is under way, whatever its state, and for the others (`gate.ts`).
 */
import { Backoff } from '../backoff.ts';
import { Intake } from './intake.ts';
import { composeMessage, recordEnd } from './run.ts';
import { Window } from './window.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { HoldReason } from '../observe/status.ts';
import type { LaneMessage, LanePort, OpenPort, PortFault, PortListener } from './port.ts';
import type { Run } from './run.ts';
import type { Flight } from './window.ts';

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
  /** Sets a message aside; resolves once it is safe on disk, rejects only at a stop. */
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

/** RabbitMQ's code for a message that the broker itself will not take: too large, most often. */
const PRECONDITION_FAILED = 406;

export class Lane {
  readonly subscription: number;
  readonly partition: number;
  readonly #o: LaneOptions;
  readonly #intake: Intake;
  readonly #window = new Window();
  readonly #backoff = new Backoff();
  readonly #stop = new AbortController();
  #state: LaneState = 'opening';
  #hold: Hold | undefined;
  /** What the last try to mend the destination met with; '' where it went well. */
  #unmended = '';
  #port: OpenPort | undefined;
  /** Guards against answers of a way that is no longer ours. */
  #epoch = 0;
  /** At most so many under way now; below the window while the lane finds out whether it flows again. */
  #limit: number;
  #preparing = false;
  #confirmed: LanePosition | undefined;
  #lastProgress = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #drained: (() => void) | undefined;
  /** It has come to the gate in front. */
  #arrived = false;

  constructor(options: LaneOptions) {
    this.#o = options;
    this.subscription = options.subscription;
    this.partition = options.partition;
    this.#limit = options.window;
    this.#intake = new Intake({ ...options, due: () => this.#pump() });
  }

  /** In this life; undefined before the first. */
  get confirmedPosition(): LanePosition | undefined {
    return this.#confirmed;
  }

  /** Positions of another history mean nothing from here on; only when nothing is under way. */
  forgetPosition(): void {
    this.#confirmed = undefined;
  }

  get queued(): number {
    const { size, sent, unanswered, parking } = this.#window;
    // What was answered while the lane is held is sent again.
    return this.#intake.size + size - (this.#hold ? unanswered + parking : sent);
  }

  get unconfirmed(): number {
    return this.#window.unanswered;
  }

  /** Why nothing passes; it stays until a message is confirmed again, not merely tried. */
  get hold(): Hold | undefined {
    return this.#hold;
  }

  /** When the oldest unanswered message was sent; undefined when all are answered. */
  get waitingSince(): number | undefined {
    return this.#window.oldestUnanswered?.sentAt;
  }

  start(): void {
    void this.#open();
  }

  /** Takes a batch's messages; they go as soon as the window lets them. */
  push(run: Run): void {
    if (this.#state === 'stopped') return;
    this.#intake.push(run);
    this.#pump();
  }

  /** Publishes nothing more; resolves when all that is under way has been answered (or the way to the answers is lost). */
  async drain(): Promise<void> {
    this.#halt();
    if (this.#port && this.#underWay() > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
  }

  close(): void {
    this.#halt();
    this.#stop.abort();
    this.#epoch++;
    this.#port?.close();
    this.#port = undefined;
    this.#drained?.();
  }

  /** Called about every second: a confirm that never comes is a way that is broken, though it looks open. */
  checkOverdue(now: number): void {
    if (!this.#port?.ready || this.#window.unanswered === 0) {
      this.#lastProgress = now;
      return;
    }
    if (now - this.#lastProgress < this.#o.confirmTimeoutMs) return;
    const port = this.#port;
    const reason = `no confirm came within ${this.#o.confirmTimeoutMs} ms`;
    this.#lost({ kind: 'channel', code: undefined, reason }, 'confirm-timeout');
    port.close();
  }

  // The way to the broker: opened, lost, opened again.

  async #open(): Promise<void> {
    this.#state = 'opening';
    const epoch = ++this.#epoch;
    try {
      const port = await this.#o.port.open(this.#listener(epoch), this.#stop.signal);
      if (epoch !== this.#epoch || this.#isStopped()) {
        port.close();
        return;
      }
      this.#port = port;
      this.#window.beginRound({ reopened: true });
      this.#lastProgress = this.#o.now();
      this.#flow();
    } catch (error) {
      if (epoch !== this.#epoch || this.#isStopped()) return;
      this.#holdFor('refused', faultReason(error));
    }
  }

  /** The listener of one incarnation of the way: a late answer of an older one must not be taken for a newer one's. */
  #listener(epoch: number): PortListener {
    return {
      partition: this.partition,
      confirmed: (tag, multiple) => {
        if (epoch === this.#epoch) this.#answer(tag, multiple, 'delivered');
      },
      refused: (tag, multiple) => {
        if (epoch === this.#epoch) this.#answer(tag, multiple, 'undelivered');
      },
      returned: (messageId, reason) => {
        if (epoch !== this.#epoch) return;
        this.#o.observer.returned();
        this.#window.markReturned(messageId, reason);
      },
      writable: () => {
        if (epoch !== this.#epoch) return;
        this.#lastProgress = this.#o.now();
        this.#pump();
      },
      closed: (fault) => {
        if (epoch === this.#epoch) this.#lost(fault, 'refused');
      },
    };
  }

  #lost(fault: PortFault, reason: HoldReason): void {
    this.#epoch++;
    this.#port = undefined;
    const alone = this.#window.unanswered === 1 && this.#limit === 1 ? this.#window.oldestUnanswered : undefined;
    this.#window.beginRound({ reopened: false });
    if (this.#isStopped()) {
      this.#drained?.();
      return;
    }
    this.#passGates();
    if (fault.kind === 'connection') {
      void this.#open();
      return;
    }
    // The broker refuses one of the messages under way and does not say which: sent one by one, the one that closes the
    // channel while it is alone is the one.
    this.#limit = 1;
    if (fault.code === PRECONDITION_FAILED && alone) this.#park(alone, 'refused', fault.reason);
    this.#holdFor(reason, fault.reason);
  }

  // Sending.

  #flow(): void {
    this.#state = 'open';
    this.#releaseIfEmpty();
    this.#pump();
  }

  /** With nothing left to prove it by, an open lane counts as flowing. */
  #releaseIfEmpty(): void {
    if (this.#state === 'open' && this.#window.size === 0 && this.#intake.size === 0) this.#setHold(undefined);
  }

  /** Goes through the gates in front that are open, or opens them by coming. */
  #passGates(): void {
    if (this.#isStopped()) return;
    for (let gate = this.#intake.gate; gate && this.#window.size === 0; gate = this.#intake.gate) {
      if (!this.#arrived) {
        this.#arrived = true;
        gate.arrive(this.#intake.gateCounts, () => this.#pump());
        // Whatever held the lane, it does not now.
        if (this.#state === 'open') this.#setHold(undefined);
      }
      if (!gate.open) {
        if (gate.wall !== undefined && this.#state === 'open') this.#setHold({ reason: 'no-image', detail: gate.wall });
        return;
      }
      this.#arrived = false;
      this.#intake.passGate();
    }
  }

  #pump(): void {
    this.#passGates();
    const port = this.#port;
    if (this.#state !== 'open' || !port || this.#preparing) return;
    let events = 0;
    while (this.#window.sent < this.#limit && port.ready) {
      const flight = this.#window.next ?? this.#take();
      // One that is being parked is waited for: what it means for those behind it is known only then.
      if (!flight || flight.answer === 'parking') break;
      const message = composeMessage(flight.parts);
      const preparing = port.prepare(message.routingKey);
      if (preparing) {
        void this.#prepare(preparing);
        break;
      }
      const now = this.#o.now();
      if (this.#window.unanswered === 0) this.#lastProgress = now;
      this.#window.markSent(now);
      events += message.events;
      port.publish(message);
      // A port may fail while it is being written to.
      if (this.#port !== port) break;
    }
    if (events > 0) this.#o.observer.published(events);
  }

  #take(): Flight | undefined {
    const parts = this.#intake.take(this.#window.unanswered);
    if (parts) this.#window.add(parts);
    return this.#window.next;
  }

  async #prepare(preparing: Promise<void>): Promise<void> {
    this.#preparing = true;
    const epoch = this.#epoch;
    try {
      await preparing;
    } catch (error) {
      if (epoch === this.#epoch) this.#drainFirst('refused', faultReason(error));
    } finally {
      this.#preparing = false;
    }
    this.#pump();
  }

  // Answers.

  #answer(tag: number, multiple: boolean, answer: 'delivered' | 'undelivered'): void {
    const answered = this.#window.answered(tag, multiple);
    if (answer === 'undelivered') this.#o.observer.refused(answered.length);
    for (const flight of answered) {
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
    this.#lastProgress = this.#o.now();
    this.#settle();
    if (this.#state === 'draining') this.#holdWhenQuiet();
    else this.#pump();
  }

  /** Lets go what is done with in front, and counts it. */
  #settle(): void {
    const gone = this.#window.takeSettled();
    if (gone.length > 0) {
      const end = gone.at(-1)!.parts.at(-1)!;
      this.#confirmed = recordEnd(end.delivery, end.record);
      let delivered = 0;
      for (const flight of gone) {
        if (flight.answer !== 'delivered') continue;
        delivered++;
        this.#done(flight);
      }
      if (delivered > 0) this.#o.observer.confirmed(delivered, this.#o.now() - gone[0]!.sentAt);
      this.#backoff.reset();
      this.#unmended = '';
      if (this.#limit < this.#o.window) this.#limit = Math.min(this.#o.window, this.#limit * 2);
      if (this.#state === 'open') this.#setHold(undefined);
    }
    if (this.#isStopped() && this.#underWay() === 0) this.#drained?.();
  }

  #done(flight: Flight): void {
    for (const part of flight.parts) part.delivery.ticket.done(this.subscription, 1);
  }

  /** Sets one message aside; those behind it go on. */
  #park(flight: Flight, reason: 'refused' | 'unroutable', detail: string): void {
    flight.answer = 'parking';
    void this.#o.park(composeMessage(flight.parts), reason, detail).then(
      () => {
        flight.answer = 'parked';
        this.#done(flight);
        this.#window.dropParked(flight);
        this.#settle();
        this.#releaseIfEmpty();
        this.#pump();
      },
      // It comes again at the next start.
      () => this.#drained?.(),
    );
  }

  // Holding.

  /** Something was not delivered: nothing more goes until all that is under way has been answered. */
  #drainFirst(reason: HoldReason, detail: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#setHold({ reason, detail: detail + this.#unmended });
    this.#limit = 1;
    this.#holdWhenQuiet();
  }

  #holdWhenQuiet(): void {
    const { reason, detail } = this.#hold!;
    if (this.#window.unanswered === 0) this.#holdFor(reason, detail);
  }

  #holdFor(reason: HoldReason, detail: string): void {
    this.#state = 'held';
    this.#setHold({ reason, detail });
    this.#retryTimer = setTimeout(() => void this.#retry(), this.#backoff.next());
  }

  async #retry(): Promise<void> {
    try {
      await this.#o.port.mend();
      this.#unmended = '';
    } catch (error) {
      // It is tried all the same; where the next message fares no better, this is why.
      this.#unmended = `; it could not be put right: ${faultReason(error)}`;
    }
    if (this.#state !== 'held') return;
    if (this.#isRefusedStill()) {
      this.#port?.close();
      this.#port = undefined;
    }
    if (!this.#port) {
      await this.#open();
      return;
    }
    this.#window.beginRound({ reopened: false });
    this.#flow();
  }

  /**
   * A quorum queue tells the channels that publish to it that it is full, and takes that back only when it is drained: where its
   * limit was raised, they refuse for ever what a new one is let through.
   */
  #isRefusedStill(): boolean {
    return this.#hold?.reason === 'nacked' && this.#backoff.tries > 1;
  }

  #setHold(hold: Omit<Hold, 'since'> | undefined): void {
    const changed = hold?.reason !== this.#hold?.reason;
    this.#hold = hold && { ...hold, since: this.#hold?.since ?? this.#o.now() };
    if (changed) this.#o.observer.held(this.partition, this.#hold);
  }

  // Stopping.

  #halt(): void {
    this.#state = 'stopped';
    clearTimeout(this.#retryTimer);
    this.#intake.stop();
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  #underWay(): number {
    return this.#window.unanswered + this.#window.parking;
  }
}

function faultReason(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'reason' in error) return String(error.reason);
  return error instanceof Error ? error.message : String(error);
}
