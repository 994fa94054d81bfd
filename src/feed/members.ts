/**
 * The subscriptions that a feed reads for. Each has a number for as long as it is there: its place in the workers' plan, in the
 * ledger and among the lanes. They come and go while the feed reads, and the others keep their numbers.
 */
import type { Route } from './route.ts';

export interface Member {
  readonly number: number;
  readonly route: Route;
}

export class Members {
  readonly #routes: (Route | undefined)[];
  /** Nothing that was made while somebody else had them is under way any more. */
  readonly #free = new Set<number>();

  constructor(routes: readonly Route[]) {
    this.#routes = [...routes];
  }

  /** One more than the highest number, given or not. */
  get size(): number {
    return this.#routes.length;
  }

  get all(): Member[] {
    return this.#routes.flatMap((route, number) => (route ? { number, route } : []));
  }

  has(number: number): boolean {
    return this.#routes[number] !== undefined;
  }

  /** By number; undefined where nobody has it. */
  get places(): readonly (Route | undefined)[] {
    return this.#routes;
  }

  /** Of one that is there. */
  route(number: number): Route {
    const route = this.#routes[number];
    if (!route) throw new Error(`nobody has number ${number}`);
    return route;
  }

  /** Returns its number. */
  add(route: Route): number {
    const [number = this.#routes.length] = this.#free;
    this.#free.delete(number);
    this.#routes[number] = route;
    return number;
  }

  /** Its number stays taken until `free`: batches that were encoded for it may be under way. */
  remove(number: number): void {
    this.#routes[number] = undefined;
  }

  free(number: number): void {
    if (!this.has(number)) this.#free.add(number);
  }
}
