/** Answers of a running engine's API, held against its own document. */
import assert from 'node:assert/strict';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Verb } from '../../src/api/endpoint.ts';
import type { EngineProcess } from '../harness/engine-process.ts';

export interface OpenApi extends Record<string, unknown> {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, unknown>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

interface Asked {
  readonly method?: string;
  /** Sent as JSON, unless it is text already. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export class ApiUnderTest {
  readonly document: OpenApi;
  readonly base: string;
  readonly #token: string | undefined;
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false });

  static async of(engine: Pick<EngineProcess, 'url'>, token?: string): Promise<ApiUnderTest> {
    const base = `${await engine.url()}/api/v1`;
    return new ApiUnderTest(base, token, (await (await fetch(`${base}/openapi.json`)).json()) as OpenApi);
  }

  private constructor(base: string, token: string | undefined, document: OpenApi) {
    this.base = base;
    this.#token = token;
    this.document = document;
    this.#ajv.addSchema(document, 'api');
  }

  get authorization(): Readonly<Record<string, string>> {
    return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  async ask(path: string, { headers = {}, method = 'GET', body }: Asked = {}): Promise<Answer> {
    const response = await fetch(this.base + path, {
      method: method.toUpperCase(),
      headers: {
        ...this.authorization,
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true && text !== '';
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** What it answers; `template`: the path as the document has it. */
  async good<T>(template: string, path = template, method: Verb = 'get', sent?: unknown): Promise<T> {
    const { status, body } = await this.ask(path, { method, body: sent });
    assert.ok(status === 200 || status === 201, JSON.stringify(body));
    this.assertFits(template, status, { body, method });
    return body as T;
  }

  /** What is sent is as the document says. */
  assertTaken(template: string, method: Verb, sent: unknown): void {
    this.#assertValid(['paths', template, method, 'requestBody', 'content', 'application/json', 'schema'], sent);
  }

  /** Refused with this code, as the document says. */
  assertProblem(template: string, { status, headers, body }: Answer, code: string, method?: Verb): void {
    assert.equal(headers.get('content-type'), 'application/problem+json; charset=utf-8');
    const problem = body as { code: string; status: number; type: string; detail: string };
    assert.equal(problem.code, code, JSON.stringify(problem));
    assert.equal(problem.status, status);
    assert.equal(problem.type, `/api/v1/codes/${code}`);
    assert.ok(problem.detail.length > 10);
    if (template !== '') this.assertFits(template, status, { body, method });
  }

  /** `method`: the only one that the path has, where nothing else is said. */
  assertFits(template: string, status: number, { body, method }: { body: unknown; method?: Verb | undefined }): void {
    const methods = this.document.paths[template] ?? {};
    const verb = method ?? Object.keys(methods)[0] ?? '';
    assert.ok(methods[verb]?.responses[status], `the document knows ${status} of ${verb} ${template}`);
    const type = status < 300 ? 'application/json' : 'application/problem+json';
    this.#assertValid(['paths', template, verb, 'responses', String(status), 'content', type, 'schema'], body);
  }

  assertSchema(id: string, value: unknown): void {
    this.#assertValid(['components', 'schemas', id], value);
  }

  #assertValid(at: readonly string[], value: unknown): void {
    const pointer = at.map((one) => encodeURIComponent(one.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/');
    const fits = this.#ajv.validate({ $ref: `api#/${pointer}` }, value);
    assert.ok(fits, `${at.join(' ')}: ${this.#ajv.errorsText()}\n${JSON.stringify(value)}`);
  }
}
