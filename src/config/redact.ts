/**
 * Takes the secrets out of what is shown to people. What is not known to be harmless is hidden: a URI keeps its scheme,
 * hosts and database, and of its options only those listed here.
 */
const HARMLESS_OPTIONS: ReadonlySet<string> = new Set(
  [
    'appName',
    'authMechanism',
    'authSource',
    'connectTimeoutMS',
    'directConnection',
    'heartbeat',
    'heartbeatFrequencyMS',
    'localThresholdMS',
    'maxPoolSize',
    'minPoolSize',
    'readConcernLevel',
    'readPreference',
    'replicaSet',
    'retryReads',
    'retryWrites',
    'serverSelectionTimeoutMS',
    'socketTimeoutMS',
    'ssl',
    'tls',
    'tlsCAFile',
    'tlsCertificateKeyFile',
    'tlsCRLFile',
    'w',
  ].map((name) => name.toLowerCase()),
);

export const HIDDEN = '(hidden)';

/** For logs and messages: `mongodb://(hidden)@db1,db2/shop?replicaSet=rs0&tlsCertificateKeyFilePassword=(hidden)`. */
export function redact(uri: string): string {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(uri)?.[0];
  if (scheme === undefined) return HIDDEN;
  let rest = uri.slice(scheme.length);
  // The last @, wherever it is: a password with an unescaped / or @ is wrong, and must be hidden all the same.
  const at = rest.lastIndexOf('@');
  const user = at === -1 ? '' : `${HIDDEN}@`;
  rest = rest.slice(at + 1);
  const question = rest.indexOf('?');
  if (question === -1) return scheme + user + rest;
  const options = rest
    .slice(question + 1)
    .split('&')
    .map((option) => {
      const name = option.split('=', 1)[0] ?? '';
      return HARMLESS_OPTIONS.has(name.toLowerCase()) ? option : `${/^\w*$/.test(name) ? name : ''}=${HIDDEN}`;
    });
  return `${scheme}${user}${rest.slice(0, question)}?${options.join('&')}`;
}

/** Somebody else's message about `uri` (a driver's, say), without what `redact` would have hidden. */
export function withoutSecrets(message: string, uri: string): string {
  let shown = message.replaceAll(uri, HIDDEN);
  for (const secret of secretsIn(uri).toSorted((a, b) => b.length - a.length)) {
    shown = shown.replaceAll(secret, HIDDEN);
  }
  return shown;
}

/** User, password and secret options, as they are written there and as they are meant. */
export function secretsIn(uri: string): string[] {
  const secrets = new Set<string>();
  const rest = uri.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '');
  const at = rest.lastIndexOf('@');
  if (at !== -1) {
    const user = rest.slice(0, at);
    const colon = user.indexOf(':');
    if (colon === -1) secrets.add(user);
    else secrets.add(user).add(user.slice(colon + 1));
  }
  for (const option of rest.slice(at + 1).split(/[?&]/)) {
    const equals = option.indexOf('=');
    if (equals !== -1 && !HARMLESS_OPTIONS.has(option.slice(0, equals).toLowerCase()))
      secrets.add(option.slice(equals + 1));
  }
  const meant = [...secrets].map(safeDecode);
  return [...new Set([...secrets, ...meant])].filter((secret) => secret !== '');
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
