/** A running engine is asked over HTTP: all it takes is its address and, where one is configured, its token. */
import { EngineAnswerError, UserError } from '../errors.ts';
import { isMapping } from '../config/salvage.ts';

export interface EngineAddress {
  /** `http://host:port` */
  readonly url: string;
  readonly token?: string | undefined;
  /** Behind what is said where nobody answers. */
  readonly advice?: string;
}

/** All but `GET`: it is told to do something. */
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

interface Asking {
  readonly method?: Method;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

const ANSWER_MS = 30_000;

/** Its JSON. Throws `EngineAnswerError` where it gives none, or refuses. */
export async function askEngine(
  { url, token, advice }: EngineAddress,
  path: string,
  { method = 'GET', body: sent, signal }: Asking = {},
): Promise<unknown> {
  const at = addressOf(url, path);
  const patience = AbortSignal.timeout(ANSWER_MS);
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(at, {
      method,
      headers: {
        ...authorization(token),
        ...(sent !== undefined && { 'Content-Type': 'application/json' }),
      },
      ...(sent !== undefined && { body: JSON.stringify(sent) }),
      redirect: 'error',
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    body = await response.json();
  } catch (error) {
    throw unreachable(at, reasonOf(error), advice);
  }
  if (response.ok) return body;
  throw refusalOf(at, response, body);
}

/** Its answer as it comes, until it ends or `signal` fires. Throws `EngineAnswerError` where it gives none, refuses, or is lost. */
export async function* listenToEngine(
  { url, token, advice }: EngineAddress,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  const at = addressOf(url, path);
  try {
    const response = await fetch(at, { headers: authorization(token), redirect: 'error', signal });
    if (!response.ok || response.body === null) throw refusalOf(at, response, await response.json());
    yield* response.body.pipeThrough(new TextDecoderStream());
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof EngineAnswerError ? error : unreachable(at, reasonOf(error), advice);
  }
}

function authorization(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` };
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

function refusalOf(at: URL, response: Response, body: unknown): EngineAnswerError {
  if (isMapping(body) && typeof body['code'] === 'string') {
    return new EngineAnswerError(body['code'], String(body['detail']), { isRefusal: response.status < 500 });
  }
  return unreachable(at, `it answers ${response.status}, not as a Tailrace does`);
}

function addressOf(url: string, path: string): URL {
  if (URL.canParse(url) && /^https?:\/\//.test(url)) return new URL(path, url);
  throw new UserError(
    'usage',
    `--url ${JSON.stringify(url)}: expected http://host:port, as the engine logs it at its start`,
  );
}

function unreachable({ origin }: URL, why: string, advice = ''): EngineAnswerError {
  return new EngineAnswerError('api-unreachable', `no answer from an engine at ${origin} (${why})${advice}`, {
    isRefusal: false,
  });
}
