/**
 * Who may ask the API and `/status`, and how often. Invariants:
 * - beyond loopback nobody without the token, and nobody at all where none is configured;
 * - no web page of another site gets an answer or changes anything: neither by a name of its own that it lets lead to this
 *   machine (DNS rebinding), nor by a form or script that sends a request here;
 * - the token is compared in a time that says nothing about it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Problem } from './problem.ts';
import { RateLimit } from './rate-limit.ts';

export interface GuardOptions {
  /** Where the server listens, as configured. */
  readonly host: string;
  readonly token?: string | undefined;
}

export class Guard {
  readonly #loopback: boolean;
  readonly #token: Buffer | undefined;
  readonly #rate = new RateLimit();

  constructor({ host, token }: GuardOptions) {
    this.#loopback = isLoopback(host);
    this.#token = token === undefined ? undefined : digest(token);
  }

  /** Nobody can be let in. */
  get isClosed(): boolean {
    return !this.#loopback && this.#token === undefined;
  }

  /** Why this request is not answered; undefined where it is. `open`: it needs no token. */
  refusal(request: IncomingMessage, { open }: { readonly open: boolean }): Problem | undefined {
    const waitSeconds = this.#rate.take(request.socket.remoteAddress ?? '', performance.now());
    if (waitSeconds > 0) {
      return {
        code: 'api-too-many',
        detail: `Too many requests from this address. Wait ${waitSeconds} s.`,
        headers: { 'Retry-After': String(waitSeconds) },
      };
    }
    return this.#crossSite(request) ?? (open ? undefined : this.#unauthorized(request));
  }

  #crossSite({ method, headers }: IncomingMessage): Problem | undefined {
    // A page of another site cannot know a token: where one is asked for, any name may lead here (a proxy's, most often).
    if (this.#token === undefined && this.#loopback && !isLoopback(hostOf(headers.host))) {
      return {
        code: 'api-cross-site',
        detail:
          'The request names another host than this machine. Ask for 127.0.0.1 or localhost, or configure `http.token`.',
      };
    }
    if (method === 'GET' || method === 'HEAD') return undefined;
    const site = headers['sec-fetch-site'];
    const { origin } = headers;
    const isOwn = origin === undefined || originHost(origin) === headers.host?.toLowerCase();
    if (isOwn && (site === undefined || site === 'same-origin' || site === 'none')) return undefined;
    return {
      code: 'api-cross-site',
      detail: 'The request comes from a page of another site, which may change nothing.',
    };
  }

  #unauthorized({ headers }: IncomingMessage): Problem | undefined {
    if (this.#token === undefined) {
      if (this.#loopback) return undefined;
      return {
        code: 'api-closed',
        detail:
          'This engine listens beyond loopback and has no `http.token`: the API and /status are closed until it has one.',
      };
    }
    const given = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#token)) return undefined;
    return {
      code: 'api-unauthorized',
      detail:
        given === undefined
          ? 'A token is needed: `Authorization: Bearer …` with what `http.token` is.'
          : 'The token is not the one that `http.token` is.',
      headers: { 'WWW-Authenticate': 'Bearer realm="tailrace"' },
    };
  }
}

/** Of equal length, whatever was given. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

export function isLoopback(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/i.test(host);
}

/** Without the port. */
function hostOf(header: string | undefined): string {
  return (header ?? '').replace(/:\d*$/, '').replaceAll(/[[\]]/g, '');
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
