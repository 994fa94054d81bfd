/**
 * The HTTP side: metrics, health and status, and the doors to the API and the console, which are loaded when somebody first asks them. It
 * answers from what the engine hands it and keeps nothing.
 * Invariants: `/metrics`, `/healthz` and `/readyz` answer whoever asks, everything else only whom `Guard` lets in; an answer that
 * fails is a 500, never the end of the engine; closing waits for nobody who merely keeps a connection open.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { RequestHandler } from '../api/app.ts';
import { Guard } from '../api/guard.ts';
import { API_PATH, CONSOLE_PATH } from '../api/path.ts';
import { PROBLEM_TYPE, problemBody, PROBLEMS } from '../api/problem.ts';
import type { Problem } from '../api/problem.ts';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import { UserError } from '../errors.ts';
import type { Reason } from './health.ts';
import type { Log } from './log.ts';
import { shownJson } from './shown-json.ts';
import type { StatusReport } from './status.ts';

interface HttpOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Asked for by the API and `/status`; beyond loopback nobody gets there without. */
  readonly token?: string | undefined;
  readonly handlers: HttpHandlers;
  /** The API is loaded before anybody asks: that takes the event loop for some 0.2 s, which those who flow by then would notice. */
  readonly eager?: boolean;
  readonly log: Log;
}

export interface HttpHandlers {
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  /** Reasons; none means 200. */
  readonly liveness: () => readonly Reason[];
  readonly readiness: () => readonly Reason[];
  readonly status: () => StatusReport;
  /** Loads what answers below `/api/v1`. */
  readonly api?: () => Promise<RequestHandler>;
}

export interface HttpServer {
  readonly url: string;
  close(): Promise<void>;
}

/** How long answers that are under way may take once closing has begun. */
const CLOSE_GRACE_MS = 1_000;

const JSON_TYPE = 'application/json; charset=utf-8';

/** Of the API, what tells of no installation: what it is, for people and for programs. */
const OPEN = new Set([`${API_PATH}/openapi.json`, `${API_PATH}/docs`]);

/** Whether one could listen there. Throws as `startHttp` does. */
export async function tryListen({ host, port }: Pick<HttpOptions, 'host' | 'port'>): Promise<void> {
  const server = createServer();
  await listen(server, { host, port });
  await close(server);
}

export async function startHttp({ host, port, token, handlers, eager = false, log }: HttpOptions): Promise<HttpServer> {
  // Requests and answers are small: whoever is slower than this only occupies a socket.
  const limits = {
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    connectionsCheckingInterval: 5_000,
    keepAliveTimeout: 30_000,
    maxHeaderSize: 8_192,
  };
  const guard = new Guard({ host, token });
  if (guard.isClosed) {
    log.warn(
      { code: 'api-closed', host },
      'HTTP listens beyond loopback and has no `http.token`: the API and /status are closed until it has one.',
    );
  }
  const api = loadedOnce(handlers.api);
  if (eager) await api?.();
  const webConsole = loadedOnce(async () => (await import('../api/console.ts')).createConsole());
  const server = createServer(limits, (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    response.setHeaders(HEADERS);
    answer()
      .catch((error: unknown): Answer => {
        log.warn({ code: 'http-failed', err: error, url: path }, 'An HTTP request failed.');
        return json(500, { error: 'internal error, see the log' });
      })
      .then((result) => (result === 'answered' ? undefined : send(response, result)))
      .catch((error: unknown) => log.warn({ code: 'http-failed', err: error }, 'An HTTP answer could not be sent.'));

    async function answer(): Promise<Answer | 'answered'> {
      const isApi = api !== undefined && path.startsWith(`${API_PATH}/`);
      const isConsole = path.startsWith(CONSOLE_PATH);
      if (isApi || isConsole || path === '/status') {
        const refusal = guard.refusal(request, { open: isConsole || OPEN.has(path) });
        if (refusal) return problem(refusal);
      }
      if (isConsole) {
        await (
          await webConsole()
        )(request, response, path);
        return 'answered';
      }
      if (!isApi) return plainAnswer(request, path, handlers);
      (await api())(request, response);
      return 'answered';
    }
  });
  server.maxConnections = 256;

  await listen(server, { host, port });
  server.on('error', (error) => log.warn({ code: 'http-failed', err: error }, 'The HTTP server reports an error.'));

  const url = urlOf(server.address());
  log.info({ url }, 'HTTP is listening.');
  return { url, close: () => close(server) };
}

async function listen(server: Server, { host, port }: Pick<HttpOptions, 'host' | 'port'>): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw listenError(error, host, port);
  }
}

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A failure is not kept: the next who asks tries again. */
function loadedOnce<T>(load: () => Promise<T>): () => Promise<T>;
function loadedOnce<T>(load: (() => Promise<T>) | undefined): (() => Promise<T>) | undefined;
function loadedOnce<T>(load: (() => Promise<T>) | undefined): (() => Promise<T>) | undefined {
  if (load === undefined) return undefined;
  let loaded: Promise<T> | undefined;
  return () => {
    loaded ??= load().catch((error: unknown): never => {
      loaded = undefined;
      throw error;
    });
    return loaded;
  };
}

async function plainAnswer(request: IncomingMessage, path: string, handlers: HttpHandlers): Promise<Answer> {
  // Relative: a proxy may have put it all below a path of its own.
  if (path === '/' || `${path}/` === CONSOLE_PATH) {
    return { ...json(302, { console: CONSOLE_PATH }), headers: { Location: 'console/' } };
  }
  const route = ROUTES.get(path);
  if (!route) return json(404, { error: 'not found', paths: [...ROUTES.keys(), CONSOLE_PATH] });
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { ...json(405, { error: 'only GET and HEAD' }), headers: { Allow: 'GET, HEAD' } };
  }
  return route(handlers);
}

type Route = (handlers: HttpHandlers) => Answer | Promise<Answer>;

const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  [
    '/metrics',
    async ({ metrics }) => ({ code: 200, type: metrics.contentType, body: withoutSecretLabels(await metrics.text()) }),
  ],
  ['/healthz', ({ liveness }) => verdict(liveness())],
  ['/readyz', ({ readiness }) => verdict(readiness())],
  ['/status', ({ status }) => json(200, status())],
]);

function verdict(reasons: readonly Reason[]): Answer {
  const ok = reasons.length === 0;
  const codes = [...new Set(reasons.map(({ code }) => code))];
  return json(ok ? 200 : 503, { ok, reasons: reasons.map(({ text }) => text), codes });
}

function json(code: number, value: unknown): Answer {
  return { code, type: JSON_TYPE, body: `${shownJson(value)}\n` };
}

function problem(of: Problem): Answer {
  return { code: PROBLEMS[of.code].status, type: PROBLEM_TYPE, body: shownJson(problemBody(of)), headers: of.headers };
}

/** Within the values of labels only: who has "tailrace" for a password shall still find the metrics. */
function withoutSecretLabels(text: string): string {
  if (withoutKnownSecrets(text) === text) return text;
  return text.replaceAll(LABEL_VALUE, (label) => `="${withoutKnownSecrets(label.slice(2, -1))}"`);
}

const LABEL_VALUE = /="(?:[^"\\\n]|\\.)*"/g;

/** Of every answer, whoever makes it. */
const HEADERS = new Headers({
  // A cached "ready" is a lie.
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
});

function send(response: ServerResponse, { code, type, body, headers }: Answer): void {
  response.writeHead(code, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...headers });
  // Node leaves the body out for HEAD.
  response.end(body);
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const deadline = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
  try {
    await closed;
  } finally {
    clearTimeout(deadline);
  }
}

function listenError(error: unknown, host: string, port: number): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const where = `http.listen ${host}:${port}`;
  switch (code) {
    case 'EADDRINUSE':
      return new UserError(
        'port-in-use',
        `${where}: another process listens there already, perhaps a second Tailrace. Stop it, or choose another port ` +
          `(0 picks a free one, \`off\` does without HTTP).`,
        { cause: error },
      );
    case 'EACCES':
      return new UserError(
        'config-invalid',
        `${where}: this user may not listen there. Choose a port above 1023, or give the process the right.`,
        { cause: error },
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new UserError(
        'config-invalid',
        `${where}: this machine has no such address. Use 127.0.0.1, 0.0.0.0 for all, or one of its own.`,
        { cause: error },
      );
    default:
      return error;
  }
}

function urlOf(address: ReturnType<Server['address']>): string {
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address and a port');
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}
