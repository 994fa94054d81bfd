/**
 * The small HTTP side: metrics, health and status, read only. It answers from what the engine hands it and keeps nothing.
 * Invariants: no request changes anything; an answer that fails is a 500, never the end of the engine; closing waits for
 * nobody who merely keeps a connection open.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import { UserError } from '../errors.ts';
import type { Reason } from './health.ts';
import type { Log } from './log.ts';
import type { StatusReport } from './status.ts';

interface HttpOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly handlers: HttpHandlers;
  readonly log: Log;
}

export interface HttpHandlers {
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  /** Reasons; none means 200. */
  readonly liveness: () => readonly Reason[];
  readonly readiness: () => readonly Reason[];
  readonly status: () => StatusReport;
}

export interface HttpServer {
  readonly url: string;
  close(): Promise<void>;
}

/** How long answers that are under way may take once closing has begun. */
const CLOSE_GRACE_MS = 1_000;

const JSON_TYPE = 'application/json; charset=utf-8';

export async function startHttp({ host, port, handlers, log }: HttpOptions): Promise<HttpServer> {
  // Requests have no body and answers are small: whoever is slower than this only occupies a socket.
  const limits = {
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    connectionsCheckingInterval: 5_000,
    keepAliveTimeout: 30_000,
    maxHeaderSize: 8_192,
  };
  const server = createServer(limits, (request, response) => {
    answer(request, handlers)
      .catch((error: unknown): Answer => {
        log.warn({ code: 'http-failed', err: error, url: request.url }, 'An HTTP request failed.');
        return json(500, { error: 'internal error, see the log' });
      })
      .then((result) => send(response, result))
      .catch((error: unknown) => log.warn({ code: 'http-failed', err: error }, 'An HTTP answer could not be sent.'));
  });
  server.maxConnections = 256;

  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw listenError(error, host, port);
  }
  server.on('error', (error) => log.warn({ code: 'http-failed', err: error }, 'The HTTP server reports an error.'));

  const url = urlOf(server.address());
  log.info({ url }, 'HTTP is listening.');
  return { url, close: () => close(server) };
}

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
  readonly allow?: string;
}

async function answer(request: IncomingMessage, handlers: HttpHandlers): Promise<Answer> {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const route = ROUTES.get(path);
  if (!route) return json(404, { error: 'not found', paths: [...ROUTES.keys()] });
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { ...json(405, { error: 'only GET and HEAD' }), allow: 'GET, HEAD' };
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
  // Values only: who has "connected" for a password shall still find the key.
  const body = JSON.stringify(value, (_, it: unknown) => (typeof it === 'string' ? withoutKnownSecrets(it) : it));
  return { code, type: JSON_TYPE, body: `${body}\n` };
}

/** Within the values of labels only: who has "tailrace" for a password shall still find the metrics. */
function withoutSecretLabels(text: string): string {
  if (withoutKnownSecrets(text) === text) return text;
  return text.replaceAll(LABEL_VALUE, (label) => `="${withoutKnownSecrets(label.slice(2, -1))}"`);
}

const LABEL_VALUE = /="(?:[^"\\\n]|\\.)*"/g;

function send(response: ServerResponse, { code, type, body, allow }: Answer): void {
  response.writeHead(code, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    // A cached "ready" is a lie.
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...(allow !== undefined && { Allow: allow }),
  });
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
