/** `/codes`: the catalogue, as `tailrace explain` has it. */
import { z } from 'zod';
import { readCodePage } from '../code-page.ts';
import { CODES } from '../codes.ts';
import type { Code } from '../codes.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';
import type { Endpoint } from './endpoint.ts';
import { codeAnswer, codeDetail } from './schemas.ts';

export const codeEndpoints: readonly Endpoint[] = [
  endpoint({
    path: '/codes',
    operationId: 'listCodes',
    tag: 'codes',
    summary: 'Every code of messages, log lines, reasons and errors, in a sentence.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ codes: z.array(codeAnswer) }),
    async handle() {
      const pages = await Promise.all(CODES.toSorted().map(pageOf));
      return { codes: pages.map(({ code, title }) => ({ code, title })) };
    },
  }),
  endpoint({
    path: '/codes/{code}',
    operationId: 'getCode',
    tag: 'codes',
    summary: 'What a code means and what to do, as `tailrace explain` says it (Markdown).',
    problems: ['api-not-found'],
    parameters: z.strictObject({ code: z.string().meta({ description: 'Such as held-unroutable.' }) }),
    query: NOTHING,
    answer: codeDetail,
    handle: async (_, { path: { code } }) =>
      pageOf(
        found(
          'code',
          code,
          // Only what is in the list becomes a path.
          CODES.find((one) => one === code),
        ),
      ),
  }),
];

type Page = z.input<typeof codeDetail>;

const pages = new Map<Code, Promise<Page>>();

/** They do not change while this version runs. */
function pageOf(code: Code): Promise<Page> {
  let page = pages.get(code);
  if (page === undefined) {
    page = readCodePage(code).then((text) => parsePage(code, text));
    page.catch(() => pages.delete(code));
    pages.set(code, page);
  }
  return page;
}

/** The pages have these parts, in this order: a test sees to it. */
function parsePage(code: Code, text: string): Page {
  const [, title = '', why = '', whatToDo = '', meanwhile = '', lostOrRepeated = ''] = text
    .split(/^#.*$/m)
    .map((part) => part.trim());
  return { code, title, why, whatToDo, meanwhile, lostOrRepeated };
}
