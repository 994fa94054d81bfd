/**
 * What waits in front of a lane's window: runs, in order. Where messages hold many events, those that were cut at a batch's
 * end are joined with what followed. A message that is not full goes at once on a quiet lane; while several are under way
 * it waits for company until their confirms come, so that a backlog fills messages by itself. `lingerMs` bounds how long it
 * may wait beyond that. A gate is never taken or joined over: the lane passes it.
 */
import { recordField, recordHeaders } from './run.ts';
import type { MessageHeaders } from '../worker/protocol.ts';
import { Field, GATE } from '../worker/protocol.ts';
import type { Gate } from './gate.ts';
import type { Part, Run } from './run.ts';

/**
 * With so many unanswered, the lane is busy. Fewer, and a stream that is merely not idle would wait for its confirms (an event
 * a millisecond, and the broker answers in two); more, and less is filled.
 */
const BUSY = 4;

export interface IntakeOptions {
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly lingerMs: number;
  readonly now: () => number;
  /** A message has waited long enough. */
  readonly due: () => void;
}

export class Intake {
  readonly #o: IntakeOptions;
  readonly #runs: Run[] = [];
  #records = 0;
  /** Until when the front may wait for company; undefined when it has not begun to. */
  #lingerUntil: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: IntakeOptions) {
    this.#o = options;
  }

  /** Messages that were not taken yet. */
  get size(): number {
    return this.#records;
  }

  push(run: Run): void {
    this.#runs.push(run);
    this.#records += run.to - run.next;
    if (run.delivery.gates.length === 0) return;
    for (let record = run.next; record < run.to; record++) if (isGate(run, record)) this.#records -= 1;
  }

  /** What is in front, if that is a gate. */
  get gate(): Gate | undefined {
    const run = this.#runs[0];
    if (!run || !isGate(run, run.next)) return undefined;
    return run.delivery.gates[recordField(run.delivery, run.next, Field.offset)];
  }

  /** Whether the lane's arrival helps to open the gate in front. */
  get gateCounts(): boolean {
    const { delivery, next } = this.#runs[0]!;
    return recordField(delivery, next, Field.events) === 1;
  }

  passGate(): void {
    this.#advance();
  }

  /** What makes the next message; undefined when there is nothing, or nothing that may go yet with so many unanswered. */
  take(unanswered: number): Part[] | undefined {
    const run = this.#runs[0];
    if (!run || isGate(run, run.next)) return undefined;
    if (this.#o.maxEvents === 1) {
      const part = { delivery: run.delivery, record: run.next };
      this.#remove(1);
      return [part];
    }
    const { parts, full } = this.#joined();
    if (!full && (unanswered >= BUSY || (this.#o.lingerMs > 0 && this.#lingers()))) return undefined;
    this.stop();
    this.#remove(parts.length);
    return parts;
  }

  /** Forgets the wait that is under way. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#lingerUntil = undefined;
  }

  /** As many records from the front as fit into one message; `full` when no other could join them. */
  #joined(): { readonly parts: Part[]; readonly full: boolean } {
    const { maxEvents, maxBytes } = this.#o;
    const parts: Part[] = [];
    let events = 0;
    let bytes = 0;
    let key: string | undefined;
    let headers: MessageHeaders | undefined;
    for (const run of this.#runs) {
      const { delivery, next, to } = run;
      for (let record = next; record < to; record++) {
        if (isGate(run, record)) return { parts, full: true };
        const moreEvents = recordField(delivery, record, Field.events);
        const moreBytes = recordField(delivery, record, Field.length);
        const itsKey = delivery.routingKeys[recordField(delivery, record, Field.routingKey)];
        const itsHeaders = recordHeaders(delivery, record);
        if (
          parts.length > 0 &&
          (events + moreEvents > maxEvents ||
            bytes + moreBytes > maxBytes ||
            itsKey !== key ||
            !sameHeaders(itsHeaders, headers))
        ) {
          return { parts, full: true };
        }
        parts.push({ delivery, record });
        events += moreEvents;
        bytes += moreBytes;
        key = itsKey;
        headers = itsHeaders;
      }
    }
    return { parts, full: events >= maxEvents || bytes >= maxBytes };
  }

  #remove(records: number): void {
    this.#records -= records;
    for (let n = 0; n < records; n++) this.#advance();
  }

  #advance(): void {
    const run = this.#runs[0]!;
    run.next++;
    if (run.next === run.to) this.#runs.shift();
  }

  #lingers(): boolean {
    const now = this.#o.now();
    if (this.#lingerUntil === undefined) {
      this.#lingerUntil = now + this.#o.lingerMs;
      this.#timer = setTimeout(this.#o.due, this.#o.lingerMs + 1);
    }
    return now < this.#lingerUntil;
  }
}

function isGate({ delivery }: Run, record: number): boolean {
  return recordField(delivery, record, Field.type) === GATE;
}

/** Of different batches they are different objects. */
function sameHeaders(a: MessageHeaders | undefined, b: MessageHeaders | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b));
}
