/** `tail`: the changes of a replica set as a loop, over the same engine as everything else, with nothing kept between runs. */
import { BSON } from 'bson';
import type { DeserializeOptions, Document } from 'bson';
import { parseStart } from '../config/start.ts';
import { tailConfig } from '../config/tail-config.ts';
import type { Config, Operation, Start } from '../config/config.ts';
import { UserError } from '../errors.ts';
import { Engine } from '../engine.ts';
import { nothingKept } from '../feed/nothing-kept.ts';
import type { Log } from '../observe/log.ts';
import { VERSION } from '../version.ts';
import { END_INDEX } from '../worker/protocol.ts';
import type { ChangeEvent } from './events.ts';
import { Inbox } from './inbox.ts';
import { noLog } from './no-log.ts';

export interface TailOptions {
  /** Patterns over "db.coll"; `*` stands for any characters, `!` excludes. Everything by default. */
  readonly namespaces?: readonly string[];
  /** Inserts, updates, replaces and deletes by default. */
  readonly operations?: readonly Operation[];
  /**
   * `latest` (the default), `earliest`, a date, an ISO date, "seconds:increment" (what came after it), or an event that was given
   * before: what came after that one, also inside its transaction.
   */
  readonly from?: string | Date | { readonly _id: string };
  /** What `showExpandedEvents` adds. */
  readonly expanded?: boolean;
  /** `transactionBegin` and `transactionEnd` events as well. */
  readonly transactions?: boolean;
  /** `oplog` by default; a change stream where the oplog may not be read. */
  readonly mode?: 'oplog' | 'changeStream';
  /** What a change stream watches: "deployment" (the default), a database, or "db.coll". */
  readonly watch?: string;
  /** Ends the loop. */
  readonly signal?: AbortSignal;
  /** How the bson package makes values of an event; as the driver's by default. */
  readonly bson?: DeserializeOptions;
  /** A pino logger, for example; nothing is logged by default. */
  readonly log?: Log;
}

/**
 * In the oplog's order. An event counts as dealt with when the loop asks for the next one; leaving the loop closes everything.
 * Throws `UserError` for what only the user can mend, and `PositionLostError` where `from` has left the oplog.
 */
export async function* tail<T extends Document = Document>(
  uri: string,
  options: TailOptions = {},
): AsyncGenerator<ChangeEvent<T>, void> {
  const { signal, log = noLog, bson = {} } = options;
  const inbox = new Inbox();
  const left = new AbortController();
  const engine = new Engine({ config: configOf(uri, options, inbox), stores: nothingKept, log, version: VERSION });
  const running = engine.run(signal ? AbortSignal.any([signal, left.signal]) : left.signal).then(
    () => inbox.end(engine.lost ? { error: engine.lost } : {}),
    (error: unknown) => inbox.end({ error }),
  );
  try {
    for await (const { body } of inbox.messages()) {
      if (signal?.aborted) break;
      yield BSON.deserialize(body, bson) as ChangeEvent<T>;
    }
  } finally {
    left.abort();
    await running;
  }
}

const NAMES = {
  uri: 'uri',
  mode: 'mode',
  watch: 'watch',
  from: 'from',
  namespaces: 'namespaces',
  format: 'format',
  operations: 'operations',
} as const;

function configOf(uri: string, options: TailOptions, { port }: Inbox): Config {
  const { namespaces = [], from = 'latest', operations, expanded, transactions, mode, watch } = options;
  const config = tailConfig({
    uri,
    namespaces,
    from: startOf(from),
    format: 'bson',
    ...(operations && { operations }),
    ...(expanded !== undefined && { expanded }),
    ...(transactions !== undefined && { transactions }),
    ...(mode && { mode }),
    ...(watch !== undefined && { watch }),
    names: NAMES,
  });
  const [subscription] = config.subscriptions;
  return {
    ...config,
    subscriptions: [{ ...subscription!, to: { kind: 'port', port } }],
    // Nobody waits for an answer of the loop: it may be in the middle of anything.
    shutdownTimeoutMs: 0,
  };
}

function startOf(from: NonNullable<TailOptions['from']>): Start {
  if (from instanceof Date) return startOf(from.toISOString());
  const start = typeof from === 'string' ? parseStart(from) : behind(from._id);
  if (start) return start;
  const written = JSON.stringify(typeof from === 'string' ? from : from._id);
  throw new UserError(
    'usage',
    `from ${written}: expected latest, earliest, a date, "seconds:increment" or an event of an earlier tail`,
  );
}

/** What came after the event of this `_id`, with the other operations of its entry. */
function behind(id: string): Start | undefined {
  const [, seconds, increment, last] = /:(\d+)\.(\d+)\.(\d+|begin|end)$/.exec(id) ?? [];
  if (seconds === undefined) return undefined;
  const ts = { seconds: Number(seconds), increment: Number(increment) };
  if (last === 'begin') return { kind: 'from', ts, written: id };
  return { kind: 'from', ts, index: last === 'end' ? END_INDEX : Number(last), written: id };
}
