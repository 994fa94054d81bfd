/** What an endpoint is: its path, what it takes and answers (for the check and for the document), and what makes the answer. */
import { z } from 'zod';
import type { ParkingStore } from '../checkpoint/parking.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { Config } from '../config/config.ts';
import type { StatusReport } from '../observe/status.ts';
import { ProblemError } from './problem.ts';
import type { ProblemCode } from './problem.ts';

/** All that the API sees of an engine. */
export interface EngineView {
  readonly config: Config;
  readonly status: () => StatusReport;
  readonly checkpoints: Pick<CheckpointStore, 'all' | 'gaps'>;
  readonly parking: Pick<ParkingStore, 'slice' | 'look' | 'totalBytes'>;
  /** Both throw `NotNowError`, `UserError` and `PositionLostError`. */
  readonly pause: (subscription: string) => Promise<void>;
  readonly resume: (subscription: string) => Promise<void>;
}

export interface Input<Path, Query> {
  readonly path: Path;
  readonly query: Query;
}

interface Described {
  /** `post`: it changes something, and takes no body. */
  readonly method?: 'get' | 'post';
  /** As in the document: `/sources/{name}`, behind `/api/v1`. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Besides those that every endpoint may answer. */
  readonly problems?: readonly ProblemCode[];
}

interface Spec<P extends z.ZodObject, Q extends z.ZodObject, A extends z.ZodType> extends Described {
  readonly parameters: P;
  readonly query: Q;
  readonly answer: A;
  handle(view: EngineView, input: Input<z.output<P>, z.output<Q>>): z.input<A> | Promise<z.input<A>>;
}

export interface Endpoint extends Described {
  readonly parameters: z.ZodObject;
  readonly query: z.ZodObject;
  readonly answer: z.ZodType;
  /** `path` and `query` as they were sent; throws `ProblemError`. */
  handle(view: EngineView, path: unknown, query: unknown): Promise<unknown>;
}

export const NOTHING = z.strictObject({});

export function endpoint<P extends z.ZodObject, Q extends z.ZodObject, A extends z.ZodType>(
  spec: Spec<P, Q, A>,
): Endpoint {
  return {
    ...spec,
    handle: async (view, path, query) =>
      spec.handle(view, { path: checked(spec.parameters, path, 'path'), query: checked(spec.query, query, 'query') }),
  };
}

function checked<T extends z.ZodType>(schema: T, value: unknown, where: 'path' | 'query'): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: `${where}.${key}`, expected: 'no such parameter' }))
      : [{ path: [where, ...issue.path.map(String)].join('.'), expected: issue.message }],
  );
  const said = faults.map(({ path, expected }) => `${path}: expected ${expected}`).join('; ');
  throw new ProblemError({ code: 'api-bad-request', detail: `The request cannot be taken: ${said}.`, faults });
}

/** Throws where there is none. */
export function found<T>(what: string, name: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new ProblemError({ code: 'api-not-found', detail: `There is no ${what} "${name}".` });
}
