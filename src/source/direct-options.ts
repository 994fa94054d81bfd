/**
 * The options that make a second client log in and encrypt exactly as the user's URI does, but to one host. Taken from the
 * first client's parsed options rather than from the URI's text: by then a SRV record has been resolved, its TXT record has
 * added an authSource, and passwords are decoded.
 */
import type { MongoClientOptions, MongoOptions } from 'mongodb';

/** Options whose parsed form is accepted again as it is. Files are named, not copied: a renewed certificate is read anew. */
const SAME = [
  'ALPNProtocols',
  'allowPartialTrustChain',
  'appName',
  'autoSelectFamily',
  'autoSelectFamilyAttemptTimeout',
  'checkServerIdentity',
  'ciphers',
  'compressors',
  'connectTimeoutMS',
  'ecdhCurve',
  'family',
  'localAddress',
  'lookup',
  'minDHSize',
  'noDelay',
  'passphrase',
  'proxyHost',
  'proxyPassword',
  'proxyPort',
  'proxyUsername',
  'rejectUnauthorized',
  'secureProtocol',
  'serverApi',
  'serverMonitoringMode',
  'servername',
  'tls',
  'tlsCAFile',
  'tlsCRLFile',
  'tlsCertificateKeyFile',
  'zlibCompressionLevel',
] as const satisfies readonly (keyof MongoOptions & keyof MongoClientOptions)[];

export function directOptions(parsed: Readonly<MongoOptions>): MongoClientOptions {
  const options: Record<string, unknown> = {};
  for (const key of SAME) {
    if (parsed[key] !== undefined) options[key] = parsed[key];
  }
  const { credentials } = parsed;
  if (credentials !== undefined) {
    const { username, password, source, mechanism, mechanismProperties } = credentials;
    // An X.509 or cloud identity has no name or password of its own.
    if (username !== '' && username !== undefined) options['auth'] = { username, password };
    options['authSource'] = source;
    if (mechanism !== 'DEFAULT') options['authMechanism'] = mechanism;
    if (Object.keys(mechanismProperties).length > 0) options['authMechanismProperties'] = mechanismProperties;
  }
  return options;
}
