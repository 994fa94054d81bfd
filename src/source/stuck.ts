/**
 * Tells an outage from an event that the server cannot make: the same error at the same place, again and again, and none that
 * speaks of the member or the connection. The server then refuses the whole batch that the event is in; asked for one event
 * at a time, it gives everything before it. The event itself nothing here can pass: without its kind it is not known who wants it.
 */
import { MongoError } from 'mongodb';
import type { Log } from '../observe/log.ts';
import { classify, codeOf } from './failures.ts';
import { formatTs } from './position.ts';
import type { ResumePoint } from './position.ts';

const REPEATS = 3;

/** What a member says that is going, not there, or busy. */
const MEMBER_CODES = new Set([
  6, 7, 24, 50, 63, 89, 91, 112, 133, 134, 150, 189, 202, 222, 234, 246, 262, 384, 9001, 10107, 11600, 11602, 13388,
  13435, 13436,
]);

export class Stuck {
  readonly #source: string;
  readonly #log: Log;
  #code = 0;
  #at = '';
  #times = 0;

  constructor(source: string, log: Log) {
    this.#source = source;
    this.#log = log;
  }

  /** Events are to be asked for one by one. */
  get careful(): boolean {
    return this.#times >= REPEATS;
  }

  /** `at` is behind the last event that came. */
  note(error: unknown, at: ResumePoint): void {
    const code = codeOf(error);
    if (code === undefined || MEMBER_CODES.has(code) || classify(error).kind !== 'transient') return;
    if (error instanceof MongoError && error.hasErrorLabel('ResumableChangeStreamError')) return;
    const place = at.kind === 'token' ? at.token.data : formatTs(at.ts);
    this.#times = code === this.#code && place === this.#at ? this.#times + 1 : 1;
    this.#code = code;
    this.#at = place;
    if (this.#times !== REPEATS) return;
    this.#log.error(
      { source: this.#source, position: formatTs(at.ts), code: 'stream-stuck', serverCode: code },
      'The server cannot give an event behind this position; asking for one at a time, so that everything before it is delivered. ' +
        'If it lasts, `mode: oplog` can pass it.',
    );
  }
}
