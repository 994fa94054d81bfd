/**
 * What is wrong with a configuration file, gathered so that it can be reported whole: one line a fault, in the file's
 * order. Invariant: no text in here holds a value that came out of `${…}`, nor any URI.
 */
import { UserError } from '../errors.ts';
import { HIDDEN } from './redact.ts';

export type Path = readonly (string | number)[];

export interface Fault {
  readonly path: Path;
  readonly at: { readonly line: number; readonly column: number } | undefined;
  readonly found: string | undefined;
  readonly expected: string;
}

interface FaultsOptions {
  readonly places?: boolean;
  /** What did not come of it. */
  readonly outcome?: string;
}

export class ConfigFaults {
  readonly file: string;
  /** Whether lines and columns mean anything to whoever wrote it. */
  readonly #places: boolean;
  readonly #outcome: string;
  readonly #faults: Fault[] = [];

  constructor(file: string, { places = true, outcome = 'nothing was started' }: FaultsOptions = {}) {
    this.file = file;
    this.#places = places;
    this.#outcome = outcome;
  }

  get count(): number {
    return this.#faults.length;
  }

  add(fault: Fault): void {
    this.#faults.push(fault);
  }

  has(path: Path): boolean {
    return this.#faults.some((fault) => path.every((step, i) => fault.path[i] === step));
  }

  toError(): UserError {
    const faults = this.#faults.toSorted(
      (a, b) => (a.at?.line ?? 0) - (b.at?.line ?? 0) || (a.at?.column ?? 0) - (b.at?.column ?? 0),
    );
    const lines = new Set(faults.map((fault) => formatFault(this.#places ? fault : { ...fault, at: undefined })));
    const head = `${this.file} has ${lines.size === 1 ? 'a fault' : `${lines.size} faults`}; ${this.#outcome}:`;
    return new ConfigError([head, ...[...lines].map((line) => `  ${line}`)].join('\n'), faults);
  }
}

/** Each fault by itself, too. */
export class ConfigError extends UserError {
  readonly faults: readonly Fault[];

  constructor(message: string, faults: readonly Fault[]) {
    super('config-invalid', message);
    this.faults = faults;
  }
}

export function formatFault({ path, at, found, expected }: Fault): string {
  const where = [formatPath(path), at === undefined ? '' : `(${at.line}:${at.column})`].filter((part) => part !== '');
  const head = where.length === 0 ? '' : `${where.join(' ')}: `;
  return head + (found === undefined ? expected : `found ${found}; expected ${expected}`);
}

/** `subscriptions[0].batch.maxEvents`. A key that is no plain word is quoted, and hidden where it looks like a URI. */
export function formatPath(path: Path): string {
  return path
    .map((step, i) => {
      if (typeof step === 'number') return `[${step}]`;
      if (/^[\w-]+$/.test(step)) return i === 0 ? step : `.${step}`;
      return `[${redactedKey(step)}]`;
    })
    .join('');
}

/** A key is no secret, unless something slipped into its place. */
export function redactedKey(key: string): string {
  return /:\/\/|@/.test(key) ? HIDDEN : JSON.stringify(key);
}
