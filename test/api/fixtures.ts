/** Answers of a running engine's API, held against its own document. */
import assert from 'node:assert/strict';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { EngineProcess } from '../harness/engine-process.ts';

export interface OpenApi extends Record<string, unknown> {
  /** One method each. */
  readonly paths: Readonly<Record<string, { readonly get?: Operation; readonly post?: Operation }>>;
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
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export class ApiUnderTest {
  readonly document: OpenApi;
  readonly base: string;
  readonly #token: string | undefined;
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false });

  static async of(engine: EngineProcess, token?: string): Promise<ApiUnderTest> {
    const base = `${await engine.url()}/api/v1`;
    return new ApiUnderTest(base, token, (await (await fetch(`${base}/openapi.json`)).json()) as OpenApi);
  }

  private constructor(base: string, token: string | undefined, document: OpenApi) {
    this.base = base;
    this.#token = token;
    this.document = document;
    this.#ajv.addSchema(document, 'api');
  }

  async ask(path: string, { headers = {}, ...init }: Asked = {}): Promise<Answer> {
    const authorization = this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
    const response = await fetch(this.base + path, { ...init, headers: { ...authorization, ...headers } });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true && text !== '';
    const body: unknown = isJson ? JSON.parse(text) : text;
    return { status: response.status, headers: response.headers, body };
  }

  /** What it answers; `template`: the path as the document has it. */
  async good<T>(template: string, path = template, method = 'GET'): Promise<T> {
    const { status, body } = await this.ask(path, { method });
    assert.equal(status, 200, JSON.stringify(body));
    this.assertFits(template, '200', body);
    return body as T;
  }

  /** Refused with this code, as the document says. */
  assertProblem(template: string, { status, headers, body }: Answer, code: string): void {
    assert.equal(headers.get('content-type'), 'application/problem+json; charset=utf-8');
    const problem = body as { code: string; status: number; type: string; detail: string };
    assert.equal(problem.code, code, JSON.stringify(problem));
    assert.equal(problem.status, status);
    assert.equal(problem.type, `/api/v1/codes/${code}`);
    assert.ok(problem.detail.length > 10);
    if (template !== '') this.assertFits(template, String(status), body);
  }

  assertFits(template: string, status: string, body: unknown): void {
    const { get, post } = this.document.paths[template] ?? {};
    const response = (get ?? post)?.responses[status];
    assert.ok(response, `the document knows ${status} of ${template}`);
    const type = status === '200' ? 'application/json' : 'application/problem+json';
    const at = ['paths', template, get ? 'get' : 'post', 'responses', status, 'content', type, 'schema'];
    const pointer = at.map((one) => encodeURIComponent(one.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/');
    const fits = this.#ajv.validate({ $ref: `api#/${pointer}` }, body);
    assert.ok(fits, `${template} ${status}: ${this.#ajv.errorsText()}\n${JSON.stringify(body)}`);
  }
}
