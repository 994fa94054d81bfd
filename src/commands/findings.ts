/**
 * What `tailrace check` found, line by line under the end it was found at. A fault is something that would stop `run`, or
 * leave it waiting; everything else is no reason not to start.
 */
import { withoutKnownSecrets } from '../config/known-secrets.ts';

export class Findings {
  faults = 0;
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = (text) => write(withoutKnownSecrets(text));
  }

  title(text: string): void {
    this.#write(`${text}\n`);
  }

  ok(text: string): void {
    this.#write(`  ok       ${text}\n`);
  }

  info(text: string): void {
    this.#write(`           ${text}\n`);
  }

  warning(text: string): void {
    this.#write(`  warning  ${text}\n`);
  }

  fault(text: string): void {
    this.faults++;
    this.#write(`  FAULT    ${text}\n`);
  }
}

/** For each end, connecting included. */
export const CHECK_TIMEOUT_MS = 10_000;
