/**
 * What a configuration file says of sources, sinks and subscriptions, as it is written: for people who look at a running
 * engine. Placeholders are not filled in, so that nothing of the environment is in it; what was written into the file
 * itself is hidden where it is a secret.
 */
import type { z } from 'zod';
import { HIDDEN, redact } from './redact.ts';
import { isMapping } from './salvage.ts';
import type { sinkSchema, sourceSchema, subscriptionSchema } from './schema.ts';

/** By name. Where a placeholder stands, there is text whatever the type says. */
export interface Declared {
  readonly sources: Readonly<Record<string, DeclaredSource>>;
  readonly sinks: Readonly<Record<string, DeclaredSink>>;
  readonly subscriptions: Readonly<Record<string, DeclaredSubscription>>;
}

export type DeclaredSource = z.input<typeof sourceSchema>;
export type DeclaredSink = z.input<typeof sinkSchema>;
export type DeclaredSubscription = z.input<typeof subscriptionSchema>;

/** Keys whose values nobody is shown, wherever they stand. */
const SECRET_KEYS: ReadonlySet<string> = new Set(['passphrase', 'token']);

/** `written`: a file without faults, in its long forms; `names`: its subscriptions', which may be placeholders there. */
export function declaredOf(
  { sources, sinks, subscriptions }: Record<string, unknown>,
  names: readonly string[],
): Declared {
  const list: readonly unknown[] = Array.isArray(subscriptions) ? subscriptions : [];
  const shown = {
    sources: withoutSecrets(sources ?? {}, []),
    sinks: withoutSecrets(sinks ?? {}, []),
    subscriptions: Object.fromEntries(names.map((name, i) => [name, withoutSecrets(list[i], [])])),
  };
  // The file was held against these very schemas.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return shown as Declared;
}

/** A definition as people are shown it. */
export function shownSecretless(value: unknown): unknown {
  return withoutSecrets(value, []);
}

function withoutSecrets(value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((one) => withoutSecrets(one, path));
  if (isMapping(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, withoutSecrets(one, [...path, key])]));
  }
  if (typeof value !== 'string' || ONE_PLACEHOLDER.test(value)) return value;
  const key = path.at(-1) ?? '';
  if (SECRET_KEYS.has(key) || path.at(-2) === 'hash') return key === 'encoding' ? value : HIDDEN;
  return key === 'uri' || value.includes('://') ? redact(value) : value;
}

const ONE_PLACEHOLDER = /^\$\{[^{}]*\}$/;
