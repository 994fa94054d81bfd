/**
 * The API as a fastify application, which answers requests that somebody else's server took in. It is loaded with the first one:
 * whoever asks for nothing but metrics pays neither its time nor its memory.
 * Invariants: an answer is made in small pieces of work, never slowing what is delivered; none holds a secret; a body is read only
 * where one is taken, and only as JSON that is said to be JSON: no form of a web page can send that.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { shownJson } from '../observe/shown-json.ts';
import type { Log } from '../observe/log.ts';
import { checkpointEndpoint } from './checkpoint.ts';
import { codeEndpoints } from './codes.ts';
import { definitionEndpoints } from './definitions.ts';
import { EVENT_STREAM } from './event-stream.ts';
import { eventsEndpoint } from './events.ts';
import { flowEndpoints } from './flow.ts';
import { healthEndpoint } from './health.ts';
import { moveEndpoint } from './move.ts';
import { parkedEndpoints } from './parked.ts';
import { snapshotEndpoints } from './snapshots.ts';
import { trialEndpoints } from './trials.ts';
import { parkedChangeEndpoints } from './parked-change.ts';
import { badRequest, BODY_LIMIT, OpenAnswer } from './endpoint.ts';
import type { Endpoint, EngineView, Verb } from './endpoint.ts';
import { DOCS_POLICY, docsPage } from './docs-page.ts';
import { openApiDocument, schemas } from './openapi.ts';
import { API_PATH } from './path.ts';
import { PROBLEM_TYPE, problemBody, ProblemError, PROBLEMS } from './problem.ts';
import type { Problem } from './problem.ts';

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

const JSON_TYPE = 'application/json; charset=utf-8';
/** A parked event's id holds its key. */
const MOST_PARAM_LENGTH = 4_096;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

export const endpoints: readonly Endpoint[] = [
  ...flowEndpoints,
  ...definitionEndpoints,
  checkpointEndpoint,
  moveEndpoint,
  ...snapshotEndpoints,
  ...trialEndpoints,
  ...parkedEndpoints,
  ...parkedChangeEndpoints,
  healthEndpoint,
  eventsEndpoint,
  ...codeEndpoints,
];

export async function createApi(view: EngineView, log: Log, all = endpoints): Promise<RequestHandler> {
  const app = fastify({
    bodyLimit: BODY_LIMIT,
    routerOptions: { maxParamLength: MOST_PARAM_LENGTH },
    exposeHeadRoutes: false,
    // Zod checks what is asked, and answers are written here: the compilers that fastify would bring stay on the disk.
    schemaController: { compilersFactory: { buildValidator: unused, buildSerializer: unused } },
    frameworkErrors: (error, request, reply) => void failed(error, request, reply, log),
  });
  app.setErrorHandler((error, request, reply) => failed(error, request, reply, log));
  app.setNotFoundHandler((_, reply) =>
    sendProblem(reply, {
      code: 'api-not-found',
      detail: `There is no such path. ${API_PATH}/docs tells what there is.`,
    }),
  );
  takeJson(app);
  let document: string | undefined;
  let page: string | undefined;
  const routes: readonly Route[] = [
    ...all.map((one): Route => ({
      ...one,
      handler: async ({ method, params, query, body }, reply) => {
        const answer = await one.handle(view, { path: { ...Object(params) }, query: { ...Object(query) }, body });
        if (answer instanceof OpenAnswer) return streamed(answer, method, reply);
        return reply
          .code(one.status ?? 200)
          .type(JSON_TYPE)
          .send(`${shownJson(answer)}\n`);
      },
    })),
    {
      path: '/openapi.json',
      async handler(_, reply) {
        document ??= JSON.stringify(openApiDocument(all), undefined, 2);
        return reply.type(JSON_TYPE).send(document);
      },
    },
    {
      path: '/docs',
      async handler(_, reply) {
        page ??= docsPage(all, schemas());
        return reply.type('text/html; charset=utf-8').header('Content-Security-Policy', DOCS_POLICY).send(page);
      },
    },
  ];
  for (const path of new Set(routes.map((one) => one.path))) {
    addPath(
      app,
      path,
      routes.filter((one) => one.path === path),
      routes.filter((one) => one.path !== path && templateOf(one.path).test(path)),
    );
  }
  await app.ready();
  return (request, response) => app.routing(request, response);
}

/** From here on the response is the answer's own. */
function streamed(answer: OpenAnswer, method: string, reply: FastifyReply): FastifyReply {
  if (method === 'HEAD') return reply.type(EVENT_STREAM).send();
  answer.begin(reply.raw);
  return reply.hijack();
}

function unused(): never {
  throw new Error('a route has a schema for fastify');
}

interface Route {
  readonly method?: Verb;
  readonly path: string;
  readonly maxBodyBytes?: number;
  readonly handler: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
}

/**
 * Methods that none of its routes has are refused by name, before anything of a body is read. `wider`: others that it fits, too
 * (`/sources/test` is a source's, who may be called that).
 */
function addPath(app: FastifyInstance, path: string, routes: readonly Route[], wider: readonly Route[]): void {
  const url = API_PATH + path.replaceAll(/\{(\w+)\}/g, ':$1');
  const allowed = new Set([...routes, ...wider].flatMap(methodsOf));
  for (const { maxBodyBytes = BODY_LIMIT, handler, ...route } of routes) {
    app.route({ method: methodsOf(route), url, bodyLimit: maxBodyBytes, handler });
  }
  app.route({
    method: METHODS.filter((method) => !allowed.has(method)),
    url,
    onRequest: async (_, reply) =>
      sendProblem(reply, {
        code: 'api-method',
        detail: `Only ${[...allowed].join(' and ')} here.`,
        headers: { Allow: [...allowed].join(', ') },
      }),
    handler: async () => undefined,
  });
}

function methodsOf({ method = 'get' }: Pick<Route, 'method'>): string[] {
  return method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()];
}

function templateOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/{}]+')}$`);
}

/** Nothing but JSON; an empty body is none, whatever it is said to be: clients like to say so of each request. */
function takeJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text: string, done) => {
    if (text === '') done(null, undefined);
    else
      void parse(request, text, (error, body) => done(error && badRequest([{ path: 'body', expected: 'JSON' }]), body));
  });
}

function failed(error: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  if (error instanceof ProblemError) return sendProblem(reply, error.problem);
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  if (status === 413) {
    const most = request.routeOptions.bodyLimit ?? BODY_LIMIT;
    return sendProblem(reply, { code: 'api-too-large', detail: `A body of at most ${most} bytes is taken here.` });
  }
  if (status === 415) {
    return sendProblem(reply, {
      code: 'api-content-type',
      detail: 'A body is taken as `Content-Type: application/json` only.',
    });
  }
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return sendProblem(reply, { code: 'api-bad-request', detail: 'The request cannot be read.' });
  }
  log.warn({ code: 'http-failed', err: error, url: request.url }, 'An HTTP request failed.');
  return sendProblem(reply, { code: 'http-failed', detail: 'An internal error; the log says more.' });
}

function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply
    .code(PROBLEMS[problem.code].status)
    .headers({ ...problem.headers })
    .type(PROBLEM_TYPE)
    .send(shownJson(problemBody(problem)));
}
