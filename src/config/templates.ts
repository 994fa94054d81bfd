/** What a routing key or a queue's name may be, as the file is checked; filling the names in is the workers' business. */
import { templateFaults, templateNames } from '../worker/template.ts';
import { MAX_SHORT_STRING } from './limits.ts';

export const TEMPLATE_NAMES =
  '{source} {subscription} {db} {coll} {operationType} {partition} {documentKey.x} {fullDocument.x}';

/** What is expected instead, and the part that is wrong; undefined when the template is fine. */
export function templateFault(template: string): { readonly expected: string; readonly detail?: string } | undefined {
  if (template === '') return { expected: 'a text that is not empty' };
  if (templateFaults(template).length > 0) {
    const unknown = templateNames(template).find((name) => templateFaults(`{${name}}`).length > 0);
    return {
      expected: `a text with only these names in braces: ${TEMPLATE_NAMES}`,
      detail: unknown === undefined ? 'a brace lacks its partner' : `there is no {${unknown}}`,
    };
  }
  const bytes = Buffer.byteLength(template.replaceAll(/\{[^{}]*\}/g, ''));
  if (bytes <= MAX_SHORT_STRING) return undefined;
  return { expected: `at most ${MAX_SHORT_STRING} bytes outside the braces (AMQP's limit)`, detail: `it has ${bytes}` };
}

export function usesPartition(template: string): boolean {
  return template.includes('{partition}');
}

/** Everything the template can become, as a pattern with stars. */
export function templateAsGlob(template: string): string {
  return template.replaceAll(/\{[^{}]*\}/g, '*');
}
