/** The API's document as a page for people: plain HTML without scripts or anything from elsewhere, made of the endpoints. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { VERSION } from '../version.ts';
import type { Endpoint } from './endpoint.ts';
import { schemaOf } from './openapi.ts';
import { API_PATH } from './path.ts';
import { PROBLEMS } from './problem.ts';

const STYLE = `
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
h2 { margin-top: 2.5rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid currentColor; border-radius: 4px; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0; }
`;

/** The page's own style, and nothing else. */
export const DOCS_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** `schemas`: those that the document names. */
export function docsPage(endpoints: readonly Endpoint[], schemas: Readonly<Record<string, unknown>>): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Tailrace ${text(VERSION)}: API</title><style>${STYLE}</style></head>
<body>
<main>
<h1>Tailrace ${text(VERSION)}: API</h1>
<p>What a running engine is doing, and what it can be told to do. <a href="${API_PATH}/openapi.json">The OpenAPI document</a> is for programs. Where
<code>http.token</code> is configured, and always beyond loopback, a request needs <code>Authorization: Bearer …</code>.</p>
<nav><ul>
${endpoints.map(({ method = 'get', path, operationId, summary }) => `<li><a href="#${operationId}"><code>${method.toUpperCase()} ${text(API_PATH + path)}</code></a> ${text(summary)}</li>`).join('\n')}
<li><a href="#problems">Errors</a></li>
<li><a href="#schemas">Schemas</a></li>
</ul></nav>
${endpoints.map(section).join('\n')}
<section><h2 id="problems">Errors</h2>
<p>As <code>application/problem+json</code>; <code>tailrace explain CODE</code> and <code>${API_PATH}/codes/CODE</code> say more.</p>
<table><thead><tr><th scope="col">Status</th><th scope="col">Code</th><th scope="col">What happened</th></tr></thead><tbody>
${Object.entries(PROBLEMS)
  .map(([code, { status, title }]) => `<tr><td>${status}</td><td><code>${code}</code></td><td>${text(title)}</td></tr>`)
  .join('\n')}
</tbody></table></section>
<section><h2 id="schemas">Schemas</h2>
${Object.entries(schemas)
  .map(
    ([id, schema]) =>
      `<h3 id="${text(id)}">${text(id)}</h3>\n<pre tabindex="0">${linked(JSON.stringify(schema, undefined, 2))}</pre>`,
  )
  .join('\n')}
</section>
</main>
</body>
</html>
`;
}

function section({
  method = 'get',
  path,
  operationId,
  summary,
  description,
  parameters,
  query,
  body,
  answer,
  isStream = false,
}: Endpoint): string {
  const asked = [...rows(parameters, 'path'), ...rows(query, 'query')];
  const table =
    asked.length === 0
      ? ''
      : `<table><thead><tr><th scope="col">Parameter</th><th scope="col">In</th><th scope="col">Meaning</th></tr></thead><tbody>
${asked.join('\n')}
</tbody></table>`;
  return `<section><h2 id="${operationId}"><code>${method.toUpperCase()} ${text(API_PATH + path)}</code></h2>
<p>${text(summary)}${description === undefined ? '' : ` ${text(description)}`}</p>
${table}${body === undefined ? '' : `\n<p>Takes as its body</p>\n${schemaText(body)}`}
<p>${isStream ? 'Answers with server-sent events; the data of each' : 'Answers with'}</p>
${schemaText(answer)}</section>`;
}

function schemaText(schema: z.ZodType): string {
  return `<pre tabindex="0">${linked(JSON.stringify(schemaOf(schema), undefined, 2))}</pre>`;
}

function rows(object: z.ZodObject, where: string): string[] {
  return Object.entries(object.shape).map(([name, schema]) => {
    const description = schema instanceof z.ZodType ? (schema.description ?? '') : '';
    return `<tr><td><code>${text(name)}</code></td><td>${where}</td><td>${text(description)}</td></tr>`;
  });
}

/** References lead to the schema on this page. */
function linked(json: string): string {
  return text(json).replaceAll(/#\/components\/schemas\/(\w+)/g, '<a href="#$1">$1</a>');
}

function text(plain: string): string {
  return plain.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
