/**
 * What an API answers where it cannot do what was asked: `application/problem+json` (RFC 9457), with a code of the catalogue.
 * `type` leads to that code's page in this very API, so that it can be read where there is no other network.
 */
import type { Code } from '../codes.ts';
import { API_PATH } from './path.ts';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** What may be answered; titles are those of the pages. */
export const PROBLEMS = {
  'api-bad-request': { status: 400, title: 'A request to the API is not as it should be.' },
  'api-unauthorized': { status: 401, title: 'A request to the API lacks the token, or has a wrong one.' },
  'api-closed': {
    status: 403,
    title: 'The API is closed, because it could be reached from elsewhere and has no token.',
  },
  'api-cross-site': { status: 403, title: 'A request to the API came from a web page of another site.' },
  'api-not-found': { status: 404, title: 'The API has nothing of that name.' },
  'api-method': { status: 405, title: 'The API does not know this method for that path.' },
  'api-conflict': { status: 409, title: 'What a request to the API asks for cannot be done as things are.' },
  'managed-by-file': { status: 409, title: 'Definitions are managed in the file, and not in the running engine.' },
  'api-content-type': { status: 415, title: 'A request to the API has a body that is not said to be JSON.' },
  'api-too-large': { status: 413, title: 'A request to the API is too large.' },
  'api-too-many': { status: 429, title: 'One address has sent too many requests to the API.' },
  'api-too-many-watchers': { status: 503, title: 'As many watch events already as may at once.' },
  'http-failed': { status: 500, title: 'A request to the HTTP side failed.' },
} as const satisfies Partial<Record<Code, { readonly status: number; readonly title: string }>>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface Problem {
  readonly code: ProblemCode;
  /** What is wrong with this very request, and what to do. */
  readonly detail: string;
  /** Parts of the request that are not as they should be. */
  readonly faults?: readonly RequestFault[];
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RequestFault {
  /** `query.limit` */
  readonly path: string;
  readonly expected: string;
}

export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

export function problemBody({ code, detail, faults }: Problem): object {
  const { status, title } = PROBLEMS[code];
  return { type: `${API_PATH}/codes/${code}`, title, status, detail, code, ...(faults && { faults }) };
}
