/**
 * The plan of one source's subscriptions as threads get it: with each job, in memory that all of them share. A thread reads it once,
 * and a job pays for two numbers; so plans come and go while threads live.
 */
import { deserialize, serialize } from 'node:v8';
import { isCrafted } from './craft.ts';
import type { WorkerPlan } from './protocol.ts';

/** What goes with a job. */
export interface PlanHandle {
  /** No other plan of this process has it. */
  readonly number: number;
  /** A byte that says whether it is over, and the plan. */
  readonly memory: SharedArrayBuffer;
}

const OVER = 1;
/** For one subscription. Of the worst update that fits main makes 40 MB of paths, in a third of a second. */
const QUICK_BYTES = 32 * 1024;

let plans = 0;

export class SharedPlan {
  readonly plan: WorkerPlan;
  readonly handle: PlanHandle;
  /** Of smaller batches main makes the messages itself. */
  readonly quickBytes: number;
  /** Events carry documents that are not in their entries. */
  readonly wantsImages: boolean;

  constructor(plan: WorkerPlan) {
    const bytes = serialize(plan);
    const memory = new SharedArrayBuffer(1 + bytes.length);
    new Uint8Array(memory).set(bytes, 1);
    this.plan = plan;
    this.handle = { number: plans++, memory };
    this.wantsImages = plan.source.subscriptions.some(({ images }) => images !== undefined);
    this.quickBytes = isQuick(plan) ? QUICK_BYTES / plan.source.subscriptions.length : 0;
  }

  /** No job follows with it: threads forget it once they meet another. */
  end(): void {
    new Uint8Array(this.handle.memory)[0] = OVER;
  }
}

/** Whether what is made of an event takes no time worth a thread: no conditions, no compression, nothing hidden or added. */
function isQuick({ source: { subscriptions } }: WorkerPlan): boolean {
  return subscriptions.every((one) => !isCrafted(one) && one.compression === undefined);
}

/** What a thread knows of plans. */
export class KnownPlans {
  readonly #known = new Map<number, { readonly plan: WorkerPlan; readonly memory: SharedArrayBuffer }>();

  of({ number, memory }: PlanHandle): WorkerPlan {
    const known = this.#known.get(number);
    if (known) return known.plan;
    for (const [other, { memory: theirs }] of this.#known) {
      if (new Uint8Array(theirs)[0] === OVER) this.#known.delete(other);
    }
    // oxlint-disable-next-line no-unsafe-type-assertion -- `SharedPlan` wrote it
    const plan = deserialize(Buffer.from(memory, 1)) as WorkerPlan;
    this.#known.set(number, { plan, memory });
    return plan;
  }

  get size(): number {
    return this.#known.size;
  }
}
