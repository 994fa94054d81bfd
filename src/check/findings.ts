/**
 * What a look at both ends found, under the end it was found at. A fault is something that would stop `run`, or leave it waiting; everything
 * else is no reason not to start.
 */
import { withoutKnownSecrets } from '../config/known-secrets.ts';

export interface Finding {
  readonly kind: 'ok' | 'info' | 'warning' | 'fault';
  readonly text: string;
}

export interface Found {
  /** What was looked at. */
  readonly at: string;
  readonly findings: readonly Finding[];
}

const HEADS: Readonly<Record<Finding['kind'], string>> = { ok: 'ok', info: '', warning: 'warning', fault: 'FAULT' };

export class Findings {
  faults = 0;
  readonly #write: (text: string) => void;
  readonly #all: { at: string; findings: Finding[] }[] = [];

  /** `write`: as lines for a person, one by one as they are found. */
  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  get all(): readonly Found[] {
    return this.#all;
  }

  title(text: string): void {
    const at = withoutKnownSecrets(text);
    this.#all.push({ at, findings: [] });
    this.#write(`${at}\n`);
  }

  ok(text: string): void {
    this.#add('ok', text);
  }

  info(text: string): void {
    this.#add('info', text);
  }

  warning(text: string): void {
    this.#add('warning', text);
  }

  fault(text: string): void {
    this.faults++;
    this.#add('fault', text);
  }

  #add(kind: Finding['kind'], said: string): void {
    const text = withoutKnownSecrets(said);
    this.#all.at(-1)!.findings.push({ kind, text });
    this.#write(`  ${HEADS[kind].padEnd(9)}${text}\n`);
  }
}

/** For each end, connecting included. */
export const CHECK_TIMEOUT_MS = 10_000;
