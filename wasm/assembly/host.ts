/** What the module calls in JavaScript: see `src/worker/transcoder.ts`. */

/**
 * Ends the call by throwing: the event is then written in JavaScript, from its beginning. For all that is damaged or beyond the
 * room there is, so that there is one place that knows what to say of it.
 */
export declare function giveUp(): void;

/** Writes the digits of a finite double that is no price; the result is the place behind them. */
export declare function putDouble(pos: usize, value: f64): usize;

/** Writes a value of a type that documents rarely hold; the result is the place behind it. */
export declare function putRareValue(pos: usize, type: i32, at: usize, last: usize, depth: i32): usize;
