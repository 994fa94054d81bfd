/**
 * Turns "this path, that was expected" into a fault with its place in the file and what was found there. The one place
 * that shows values of the file, and so the one that decides which may be shown.
 */
import { z } from 'zod';
import type { ConfigDocument } from './document.ts';
import { redactedKey } from './faults.ts';
import type { ConfigFaults, Path } from './faults.ts';
import { UNFILLED } from './placeholders.ts';
import type { Expanded } from './placeholders.ts';
import { HIDDEN } from './redact.ts';
import { isMapping, unwrap } from './salvage.ts';
import { NAME_EXPECTED, fileSchema } from './schema.ts';
import { nearest } from './nearest.ts';

const SHOWN_LENGTH = 60;

export class Reporter {
  readonly #document: ConfigDocument;
  readonly #expanded: Expanded;
  readonly #faults: ConfigFaults;

  constructor(document: ConfigDocument, expanded: Expanded, faults: ConfigFaults) {
    this.#document = document;
    this.#expanded = expanded;
    this.#faults = faults;
  }

  /** What stands there against what should. `detail` may quote the value: it is dropped where the value is secret. */
  expected(path: Path, expected: string, detail?: string): void {
    const { value, unfilled } = this.#at(path);
    if (unfilled) return;
    const more = detail === undefined || this.#isSecret(path, value) ? '' : ` (${detail})`;
    this.#add(path, this.#show(path, value), expected + more);
  }

  /** A fault that is no matter of one value. `sentence` must hold no value of the file. */
  fault(path: Path, sentence: string): void {
    this.#add(path, undefined, sentence);
  }

  /** Is there a fault at this path or inside it? Then nothing can be concluded from what is missing there. */
  isFaulty(path: Path): boolean {
    return this.#faults.has(path);
  }

  isWritten(path: Path): boolean {
    return this.#at(path).value !== undefined;
  }

  /** All that zod found. */
  issues(issues: readonly z.core.$ZodIssue[]): void {
    for (const issue of issues) this.#issue(issue);
  }

  #issue(issue: z.core.$ZodIssue): void {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(path);
      for (const key of issue.keys) {
        const meant = nearest(key, known);
        const hint = meant === undefined ? `known here: ${known.join(', ')}` : `did you mean ${meant}?`;
        this.fault([...path, key], `found an unknown key ${redactedKey(key)}; ${hint}`);
      }
    } else if (issue.code === 'invalid_key') {
      this.fault(path, `found ${redactedKey(String(path.at(-1)))}; expected ${NAME_EXPECTED}`);
    } else if (issue.code === 'invalid_type' && ['object', 'record', 'array'].includes(issue.expected)) {
      const what = issue.expected === 'array' ? 'a list' : 'a mapping';
      this.expected(path, path.at(-1) === 'to' ? 'a mapping with exchange, queue or file, or the word stdout' : what);
    } else {
      const detail: unknown = issue.code === 'custom' ? issue.params?.['detail'] : undefined;
      this.expected(path, issue.message, typeof detail === 'string' ? detail : undefined);
    }
  }

  #add(path: Path, found: string | undefined, expected: string): void {
    this.#faults.add({ path, at: this.#document.locate(path), found, expected });
  }

  #at(path: Path): { value: unknown; unfilled: boolean } {
    let value = this.#expanded.values;
    for (const step of path) {
      if (value === UNFILLED) return { value: undefined, unfilled: true };
      if (Array.isArray(value) && typeof step === 'number') value = value[step];
      else if (isMapping(value) && Object.hasOwn(value, step)) value = value[step];
      else return { value: undefined, unfilled: false };
    }
    return { value, unfilled: value === UNFILLED };
  }

  #isSecret(path: Path, value: unknown): boolean {
    // A URI is a secret wherever it slipped to, and under `uri` so is anything else.
    return (
      this.#expanded.isSecret(path) ||
      path.at(-1) === 'uri' ||
      path.at(-1) === 'passphrase' ||
      path.at(-1) === 'token' ||
      path.at(-2) === 'hash' ||
      (typeof value === 'string' && /:\/\/|@/.test(value))
    );
  }

  #show(path: Path, value: unknown): string {
    if (value === undefined) return 'nothing';
    if (value === null) return 'nothing (an empty value)';
    if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
    if (typeof value === 'object') return 'a mapping';
    if (this.#isSecret(path, value)) return HIDDEN;
    const text = JSON.stringify(value) ?? 'nothing';
    return text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text;
  }
}

function keysAt(path: Path): readonly string[] {
  let schema: z.core.$ZodType = fileSchema;
  for (const step of path) {
    const inner = unwrap(schema);
    if (inner instanceof z.ZodObject) schema = inner.shape[step] ?? schema;
    else if (inner instanceof z.ZodArray) schema = inner.element;
    else if (inner instanceof z.ZodRecord) schema = inner.valueType;
  }
  const inner = unwrap(schema);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}
