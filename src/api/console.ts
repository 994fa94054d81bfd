/**
 * The console's files, as the build has left them beside this program: compressed then, and never while somebody waits. They tell nothing of
 * an installation, so that they need no token: the page asks for it, and shows it to the API.
 * Invariants: nothing is served but the files that were there at the start; a page gets scripts, styles and answers from here and nowhere else.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname } from 'node:path';
import { API_PATH, CONSOLE_PATH } from './path.ts';
import { PROBLEM_TYPE, problemBody, PROBLEMS } from './problem.ts';
import type { Problem } from './problem.ts';

const FOLDER = new URL(import.meta.url.endsWith('.ts') ? '../../dist/console/' : '../console/', import.meta.url);

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/** The smallest first. */
const ENCODINGS = [
  { name: 'br', ending: '.br' },
  { name: 'gzip', ending: '.gz' },
] as const;

/** A name that changes with what is in the file. */
const HASHED = /-[A-Z0-9]{8}\.\w+$/;

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

interface File {
  readonly type: string;
  readonly etag: string;
  readonly encodings: readonly (typeof ENCODINGS)[number][];
}

type ConsoleHandler = (request: IncomingMessage, response: ServerResponse, path: string) => Promise<void>;

export async function createConsole(): Promise<ConsoleHandler> {
  const files = await filesIn(FOLDER);
  return async (request, response, path) => {
    const name = path.slice(CONSOLE_PATH.length) || 'index.html';
    const file = files.get(name);
    if (!file) return refuse(response, notFound(files.size > 0));
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return refuse(response, {
        code: 'api-method',
        detail: 'Only GET and HEAD here.',
        headers: { Allow: 'GET, HEAD' },
      });
    }
    response.setHeaders(
      new Headers({
        'Cache-Control': HASHED.test(name) ? 'public, max-age=31536000, immutable' : 'no-cache',
        'Content-Security-Policy': POLICY,
        'Cross-Origin-Opener-Policy': 'same-origin',
        ETag: file.etag,
        Vary: 'Accept-Encoding',
      }),
    );
    if (isThere(request.headers['if-none-match'], file.etag)) {
      response.writeHead(304).end();
      return;
    }
    const encoding = file.encodings.find((one) => accepts(request.headers['accept-encoding'], one.name));
    const body = await readFile(new URL(name + (encoding?.ending ?? ''), FOLDER));
    response.writeHead(200, {
      'Content-Type': file.type,
      'Content-Length': body.byteLength,
      ...(encoding && { 'Content-Encoding': encoding.name }),
    });
    // Node leaves the body out for HEAD.
    response.end(body);
  };
}

/** By their names; none where it was not built. */
async function filesIn(folder: URL): Promise<ReadonlyMap<string, File>> {
  const names = new Set(await readdir(folder).catch(() => []));
  const files = new Map<string, File>();
  for (const name of names) {
    const type = TYPES[extname(name)];
    if (type === undefined) continue;
    const hash = createHash('sha256').update(await readFile(new URL(name, folder)));
    const encodings = ENCODINGS.filter(({ ending }) => names.has(name + ending));
    // Weak: it is the same for every encoding.
    files.set(name, { type, etag: `W/"${hash.digest('base64url').slice(0, 22)}"`, encodings });
  }
  return files;
}

function notFound(isBuilt: boolean): Problem {
  return {
    code: 'api-not-found',
    detail: isBuilt
      ? `The console has no such file. ${CONSOLE_PATH} is the page.`
      : `The console is not built: \`npm run build\` does. The API is at ${API_PATH}/docs.`,
  };
}

function refuse(response: ServerResponse, problem: Problem): void {
  response.writeHead(PROBLEMS[problem.code].status, { 'Content-Type': PROBLEM_TYPE, ...problem.headers });
  response.end(JSON.stringify(problemBody(problem)));
}

function isThere(header: string | undefined, etag: string): boolean {
  return (header ?? '').split(',').some((one) => one.trim() === etag);
}

function accepts(header: string | string[] | undefined, encoding: string): boolean {
  return String(header ?? '')
    .split(',')
    .some((one) => {
      const [name = '', weight = ''] = one.split(';');
      return name.trim() === encoding && !/^\s*q=0(?:\.0*)?\s*$/.test(weight);
    });
}
