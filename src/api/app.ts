/**
 * The API as a fastify application, which answers requests that somebody else's server took in. It is loaded with the first one:
 * whoever asks for nothing but metrics pays neither its time nor its memory.
 * Invariants: an answer is made in small pieces of work, never slowing what is delivered; none holds a secret.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import fastify from 'fastify';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { shownJson } from '../observe/shown-json.ts';
import type { Log } from '../observe/log.ts';
import { checkpointEndpoint } from './checkpoint.ts';
import { codeEndpoints } from './codes.ts';
import { flowEndpoints } from './flow.ts';
import { parkedEndpoints } from './parked.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { DOCS_POLICY, docsPage } from './docs-page.ts';
import { openApiDocument, schemas } from './openapi.ts';
import { API_PATH } from './path.ts';
import { PROBLEM_TYPE, problemBody, ProblemError, PROBLEMS } from './problem.ts';
import type { Problem } from './problem.ts';

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

const JSON_TYPE = 'application/json; charset=utf-8';
/** Of a request; those of today have none at all. */
const BODY_LIMIT = 64 * 1024;
/** A parked event's id holds its key. */
const MOST_PARAM_LENGTH = 4_096;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

export const endpoints: readonly Endpoint[] = [
  ...flowEndpoints,
  checkpointEndpoint,
  ...parkedEndpoints,
  ...codeEndpoints,
];

export async function createApi(view: EngineView, log: Log): Promise<RequestHandler> {
  const app = fastify({
    bodyLimit: BODY_LIMIT,
    routerOptions: { maxParamLength: MOST_PARAM_LENGTH },
    exposeHeadRoutes: false,
    // Zod checks what is asked, and answers are written here: the compilers that fastify would bring stay on the disk.
    schemaController: { compilersFactory: { buildValidator: unused, buildSerializer: unused } },
    frameworkErrors: (error, request, reply) => void failed(error, request.url, reply, log),
  });
  app.setErrorHandler((error, request, reply) => failed(error, request.url, reply, log));
  app.setNotFoundHandler((_, reply) =>
    sendProblem(reply, {
      code: 'api-not-found',
      detail: `There is no such path. ${API_PATH}/docs tells what there is.`,
    }),
  );
  for (const one of endpoints) {
    route(app, one, async ({ params, query }, reply) =>
      reply.type(JSON_TYPE).send(`${shownJson(await one.handle(view, { ...Object(params) }, { ...Object(query) }))}\n`),
    );
  }
  let document: string | undefined;
  route(app, { path: '/openapi.json' }, async (_, reply) => {
    document ??= JSON.stringify(openApiDocument(endpoints), undefined, 2);
    return reply.type(JSON_TYPE).send(document);
  });
  let page: string | undefined;
  route(app, { path: '/docs' }, async (_, reply) => {
    page ??= docsPage(endpoints, schemas());
    return reply.type('text/html; charset=utf-8').header('Content-Security-Policy', DOCS_POLICY).send(page);
  });
  await app.ready();
  return (request, response) => app.routing(request, response);
}

function unused(): never {
  throw new Error('a route has a schema for fastify');
}

type Handler = (
  request: { readonly params: unknown; readonly query: unknown },
  reply: FastifyReply,
) => Promise<unknown>;

/** Other methods are refused by name, before anything of a body is read. */
function route(
  app: FastifyInstance,
  { method = 'get', path }: Pick<Endpoint, 'method' | 'path'>,
  handler: Handler,
): void {
  const url = API_PATH + path.replaceAll(/\{(\w+)\}/g, ':$1');
  const allowed = method === 'get' ? (['GET', 'HEAD'] as const) : (['POST'] as const);
  app.route({ method: [...allowed], url, handler });
  app.route({
    method: METHODS.filter((method) => !allowed.some((one) => one === method)),
    url,
    onRequest: async (_, reply) =>
      sendProblem(reply, {
        code: 'api-method',
        detail: `Only ${allowed.join(' and ')} here.`,
        headers: { Allow: allowed.join(', ') },
      }),
    handler: async () => undefined,
  });
}

function failed(error: unknown, url: string, reply: FastifyReply, log: Log): FastifyReply {
  if (error instanceof ProblemError) return sendProblem(reply, error.problem);
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  if (status === 413) return sendProblem(reply, { code: 'api-too-large', detail: `At most ${BODY_LIMIT} bytes.` });
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return sendProblem(reply, { code: 'api-bad-request', detail: 'The request cannot be read.' });
  }
  log.warn({ code: 'http-failed', err: error, url }, 'An HTTP request failed.');
  return sendProblem(reply, { code: 'http-failed', detail: 'An internal error; the log says more.' });
}

function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply
    .code(PROBLEMS[problem.code].status)
    .headers({ ...problem.headers })
    .type(PROBLEM_TYPE)
    .send(shownJson(problemBody(problem)));
}
