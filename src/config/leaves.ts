/** Forms of settings that several schemas use; each carries, as its error, the words for what is expected there. */
import { z } from 'zod';
import { templateFault } from './templates.ts';
import type { Parsed } from './units.ts';

/** A leaf whose form zod does not know. `params.detail` may quote the value: it is shown only where the value may be. */
export function written<T>(parse: (value: unknown) => Parsed<T>) {
  return z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if (parsed.ok) return parsed.value;
    context.addIssue({ code: 'custom', message: parsed.expected, params: { detail: parsed.hint } });
    return z.NEVER;
  });
}

export function choice<const T extends readonly string[]>(...values: T) {
  return z.enum(values, { error: `one of ${values.join(', ')}` });
}

export function flag() {
  return z.preprocess(fromText, z.boolean({ error: 'true or false' }));
}

/** What comes from the environment or from a file is text, whatever it says. */
export function fromText(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  return value === 'true' || value === 'false' ? value === 'true' : value;
}

export function text(error: string) {
  return z.string({ error }).min(1, { error });
}

export function template() {
  return z.string({ error: 'a text, in quotes where it holds braces' }).superRefine((value, context) => {
    const fault = templateFault(value);
    if (fault !== undefined) {
      context.addIssue({ code: 'custom', message: fault.expected, params: { detail: fault.detail } });
    }
  });
}
