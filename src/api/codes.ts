/** `/codes`: the catalogue, as `tailrace explain` has it. */
import { z } from 'zod';
import { readCode } from '../code-page.ts';
import { CODES } from '../codes.ts';
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
      const pages = await Promise.all(CODES.toSorted().map(readCode));
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
      readCode(
        found(
          'code',
          code,
          // Only what is in the list becomes a path.
          CODES.find((one) => one === code),
        ),
      ),
  }),
];
