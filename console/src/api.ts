/**
 * The way to the engine: relative to the page, so that it works behind a proxy's path too, and with the token that somebody typed in,
 * which is kept as long as the tab.
 * Invariant: every failure is an `AskError` that says what happened, in words of the engine where it has any.
 */
import type { Problem } from './types.ts';

const ROOT = new URL('../', document.baseURI);
const TOKEN_KEY = 'tailrace-token';
/** An engine that is there answers within milliseconds. */
const ANSWER_MS = 10_000;
/** What is under way is waited for, and the ends are tried. */
const CHANGE_MS = 60_000;

export class AskError extends Error {
  override readonly name = 'AskError';
  /** Undefined where nobody answered. */
  readonly status: number | undefined;
  readonly problem: Problem | undefined;

  constructor(message: string, options: { status?: number; problem?: Problem | undefined; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.status = options.status;
    this.problem = options.problem;
  }

  get code(): string | undefined {
    return this.problem?.code;
  }
}

export interface AskOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function hasToken(): boolean {
  return sessionStorage.getItem(TOKEN_KEY) !== null;
}

export function forgetToken(): void {
  sessionStorage.removeItem(TOKEN_KEY);
}

/** `path`: below `/api/v1`. */
export async function api<T>(path: string, options: AskOptions = {}): Promise<T> {
  return ask<T>(`api/v1${path}`, options);
}

/** `path`: of the engine, without the leading slash. */
export async function ask<T>(path: string, options: AskOptions = {}): Promise<T> {
  const deadline = AbortSignal.timeout((options.method ?? 'GET') === 'GET' ? ANSWER_MS : CHANGE_MS);
  const response = await send(path, {
    ...options,
    signal: options.signal ? AbortSignal.any([options.signal, deadline]) : deadline,
  });
  if (!response.ok) throw await failure(response);
  return (await response.json()) as T;
}

/** The answer as it comes, for what is endless; fails as `ask` does where it does not begin. */
export async function open(path: string, signal: AbortSignal): Promise<Response> {
  const response = await send(`api/v1${path}`, { signal });
  if (!response.ok) throw await failure(response);
  return response;
}

async function send(path: string, { method = 'GET', body, signal }: AskOptions): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN_KEY);
  try {
    return await fetch(new URL(path, ROOT), {
      method,
      headers: {
        ...(token !== null && { Authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
      cache: 'no-store',
      credentials: 'same-origin',
    });
  } catch (error) {
    throw new AskError('The engine does not answer.', { cause: error });
  }
}

async function failure(response: Response): Promise<AskError> {
  const { status } = response;
  const problem = await response.json().then(
    (body: unknown) => (isProblem(body) ? body : undefined),
    () => undefined,
  );
  return new AskError(problem?.detail ?? `The engine answered with ${status}.`, { status, problem });
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && 'detail' in body;
}
