/**
 * The last net under what this process writes: the secrets of every configuration that it has loaded, taken out of log lines, of
 * what commands say on standard error, of checks, crash reports and answers over HTTP. Messages of ours are made without them
 * (`redact.ts`); this is for what others put into their errors, and for what nobody foresaw. It belongs to the process, as its
 * standard error does.
 */
import { inspect } from 'node:util';
import { HIDDEN, redact, secretsIn } from './redact.ts';
import type { Config } from './config.ts';

/** What is shorter stands in innocent words, too. */
const SHORTEST = 6;

/** The longest first: another may begin with it. */
let known: readonly string[] = [];

export function keepSecrets({
  sources,
  sinks,
  subscriptions,
  http,
}: Pick<Config, 'sources' | 'sinks' | 'subscriptions' | 'http'>): void {
  for (const { uri } of [...sources, ...sinks]) for (const secret of secretsIn(uri)) keep(secret);
  for (const { tls } of sinks) keep(tls?.passphrase);
  keep(http?.token);
  for (const { mask = [] } of subscriptions) for (const one of mask) if (one.kind === 'hash') keep(one.key);
}

function keep(secret: string | undefined): void {
  if (secret === undefined || secret.length < SHORTEST) return;
  // As it is, and as JSON, URIs and crash reports write it; the last as a log line quotes them, too.
  const inspected = inspect(secret).slice(1, -1);
  const forms = [secret, encodeURIComponent(secret), inspected].flatMap((one) => [
    one,
    JSON.stringify(one).slice(1, -1),
  ]);
  known = [...new Set([...known, ...forms])].sort((a, b) => b.length - a.length);
}

/** Without any secret that is known, and without those of URIs that are not. */
export function withoutKnownSecrets(text: string): string {
  return withoutOwnSecrets(text).replaceAll(URI, redact);
}

/** For what is a user's own: their URIs stay as they are. */
export function withoutOwnSecrets(text: string): string {
  let shown = text;
  for (const secret of known) if (shown.includes(secret)) shown = shown.replaceAll(secret, HIDDEN);
  return shown;
}

// Tried at the start of a word only: from every letter of a long one it would take the square of its length.
const URI = /(?<![a-z+])[a-z+]+:\/\/[^\s'"\\]+/gi;
