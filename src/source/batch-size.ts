/**
 * How many entries to ask for at a time. The server counts entries and only bounds bytes at 16 MB; what suits us is a
 * reply of about 2 MiB: large enough that the round trip does not matter, small enough that the budget is spent in fine
 * steps and no large block stays alive for a few unfinished entries.
 */
const TARGET_BYTES = 2 * 1024 * 1024;
const FIRST = 1_000;
const LEAST = 50;
const MOST = 20_000;

export class BatchSize {
  #averageBytes: number | undefined;

  get entries(): number {
    if (this.#averageBytes === undefined) return FIRST;
    return Math.max(LEAST, Math.min(MOST, Math.round(TARGET_BYTES / this.#averageBytes)));
  }

  note(bytes: number, entries: number): void {
    if (entries === 0) return;
    const average = bytes / entries;
    // Up at once, down slowly: a reply that is too large costs memory, one that is too small only a round trip.
    this.#averageBytes =
      this.#averageBytes === undefined || average > this.#averageBytes
        ? average
        : this.#averageBytes + (average - this.#averageBytes) / 4;
  }
}
