/**
 * What an endpoint is: its method and path, what it takes and answers (for the check and for the document), and what makes the
 * answer. Invariant: whatever was sent has been checked before `handle` sees it.
 */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Move } from '../check/move.ts';
import type { ParkingStore } from '../checkpoint/parking.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { Config } from '../config/config.ts';
import type { Moving } from '../engine.ts';
import type { AskedSnapshot } from '../snapshot/orders.ts';
import type { Management } from '../library/management.ts';
import { formatPath } from '../config/faults.ts';
import type { ParkedWork } from '../replay/parked-work.ts';
import type { Reason } from '../observe/health.ts';
import type { StatusReport } from '../observe/status.ts';
import type { Watchers } from '../watch/watchers.ts';
import { ProblemError } from './problem.ts';
import type { ProblemCode, RequestFault } from './problem.ts';

/** All that the API sees of an engine. */
export interface EngineView {
  readonly config: Config;
  readonly management: Management;
  readonly status: () => StatusReport;
  /** Why it is not delivering, and why only a restart helps; empty while it does and works. */
  readonly readiness: () => readonly Reason[];
  readonly liveness: () => readonly Reason[];
  readonly checkpoints: Pick<CheckpointStore, 'all' | 'gaps' | 'get'>;
  readonly parking: Pick<ParkingStore, 'slice' | 'look' | 'totalBytes'>;
  readonly watchers: Pick<Watchers, 'open'>;
  /** Both throw `NotNowError`, `UserError` and `PositionLostError`. */
  readonly pause: (subscription: string) => Promise<void>;
  readonly resume: (subscription: string) => Promise<void>;
  /** Throws as they do. */
  readonly move: (subscription: string, planned: Moving['planned']) => Promise<Move>;
  /** Resolves with its id. */
  readonly addSnapshot: (subscription: string, asked: AskedSnapshot) => Promise<string>;
  readonly setSnapshot: (subscription: string, run: string, state: 'running' | 'paused' | 'cancelled') => Promise<void>;
  readonly parkedWork: Pick<ParkedWork, 'replay' | 'drop'>;
}

export type Verb = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** As it was sent, or as it was checked. A body that was not sent is undefined. */
export interface Input<Path = unknown, Query = unknown, Body = unknown> {
  readonly path: Path;
  readonly query: Query;
  readonly body: Body;
}

interface Described {
  /** `get` where nothing else is said: the only one that changes nothing. */
  readonly method?: Verb;
  /** Of an answer that is no problem; 201 where something new has come to be. */
  readonly status?: 200 | 201;
  /** As in the document: `/sources/{name}`, behind `/api/v1`. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Besides those that every endpoint may answer. */
  readonly problems?: readonly ProblemCode[];
  /** `BODY_LIMIT` where nothing else is said. */
  readonly maxBodyBytes?: number;
  /** The answer goes on, as server-sent events whose data are what `answer` says. */
  readonly isStream?: boolean;
}

/** Of a request's body. */
export const BODY_LIMIT = 64 * 1024;

interface Spec<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodType,
  A extends z.ZodType,
> extends Described {
  readonly parameters: P;
  readonly query: Q;
  /** Sent as JSON; none may be sent where this is left out. */
  readonly body?: B;
  readonly answer: A;
  handle(view: EngineView, input: Input<z.output<P>, z.output<Q>, z.output<B>>): z.input<A> | Promise<z.input<A>>;
}

export interface Endpoint extends Described {
  readonly parameters: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body?: z.ZodType;
  readonly answer: z.ZodType;
  /** What is in `input` as it was sent; throws `ProblemError`. */
  handle(view: EngineView, input: Input): Promise<unknown>;
}

/** An answer that goes on for as long as its reader wants. */
export class OpenAnswer {
  /** Throws `ProblemError` before anything is written. */
  readonly begin: (response: ServerResponse) => void;

  constructor(begin: (response: ServerResponse) => void) {
    this.begin = begin;
  }
}

export const NOTHING = z.strictObject({});

const NO_BODY = z.undefined({ error: 'no body: this takes none' });

export function endpoint<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  A extends z.ZodType,
  B extends z.ZodType = typeof NO_BODY,
>(spec: Spec<P, Q, B, A>): Endpoint {
  // Where there is no schema, B is the one that takes nothing.
  const bodySchema = spec.body ?? (NO_BODY as unknown as B);
  return {
    ...spec,
    handle: async (view, { path, query, body }) =>
      spec.handle(view, {
        path: checked(spec.parameters, path, 'path'),
        query: checked(spec.query, query, 'query'),
        body: checked(bodySchema, body, 'body'),
      }),
  };
}

/** The same for an answer that goes on. */
export function streaming<P extends z.ZodObject, Q extends z.ZodObject>({
  open,
  ...described
}: Described & {
  readonly parameters: P;
  readonly query: Q;
  /** Of each event. */
  readonly answer: z.ZodType;
  readonly open: (view: EngineView, input: Input<z.output<P>, z.output<Q>>) => OpenAnswer;
}): Endpoint {
  return endpoint({ ...described, isStream: true, handle: open });
}

function checked<T extends z.ZodType>(schema: T, value: unknown, where: 'path' | 'query' | 'body'): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw badRequest(
    parsed.error.issues.flatMap((issue) => {
      const path = [where, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))];
      if (issue.code === 'unrecognized_keys') {
        const expected = where === 'body' ? 'no such field' : 'no such parameter';
        return issue.keys.map((key) => ({ path: formatPath([...path, key]), expected }));
      }
      if (path.length === 1 && value === undefined) return [{ path: where, expected: 'a JSON object' }];
      return [{ path: formatPath(path), expected: issue.message.replace(/^[\w ]+: expected /, '') }];
    }),
  );
}

export function badRequest(faults: readonly RequestFault[]): ProblemError {
  const said = faults.map(({ path, expected }) => `${path}: expected ${expected}`).join('; ');
  return new ProblemError({ code: 'api-bad-request', detail: `The request cannot be taken: ${said}.`, faults });
}

/** Throws where there is none. */
export function found<T>(what: string, name: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new ProblemError({ code: 'api-not-found', detail: `There is no ${what} "${name}".` });
}
