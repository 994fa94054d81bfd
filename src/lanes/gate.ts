/**
 * Where several lanes of a subscription meet: a command on a collection that is spread over them must neither overtake nor be
 * overtaken. Each lane comes to the gate once all before it is settled; when those have arrived whose arrival counts, the gate
 * is open for good and all of them go on.
 *
 * A command lies between two gates. The first counts every lane that may hold something older; the second counts only the
 * command's own, which arrives when the command is confirmed. All lanes meet their gates in one and the same order, so that no
 * two can wait for each other.
 *
 * One that is a wall never opens: what comes behind it in its lane may not be delivered without what is missing there.
 */
export class Gate {
  #missing: number;
  #waiting: (() => void)[] = [];

  /** Why it never opens; undefined where it does. */
  readonly wall: string | undefined;

  /** `arrivals`: how many open it. */
  constructor(arrivals: number, wall?: string) {
    this.#missing = arrivals;
    this.wall = wall;
  }

  get open(): boolean {
    return this.#missing <= 0;
  }

  /** Once per lane. `opened` is called when others have opened it, not from within their calls. */
  arrive(counts: boolean, opened: () => void): void {
    if (counts) this.#missing -= 1;
    if (!this.open) {
      this.#waiting.push(opened);
      return;
    }
    // Those who wait publish at once, and what they publish to may fail and call back: not in the middle of this lane's turn.
    for (const waiting of this.#waiting) queueMicrotask(waiting);
    this.#waiting = [];
  }
}
