/**
 * What went wrong while a connection was being encrypted, where waiting does not mend it: told by OpenSSL's codes, which Node
 * hands on, however deep a driver has buried them. Whatever is not known here may pass by itself.
 */
export type TlsTrouble =
  /** Nobody we know has signed the server's certificate. */
  | 'untrusted'
  | 'other-name'
  | 'expired'
  /** The server wants a certificate of ours, or does not accept the one it gets. */
  | 'client-wanted'
  | 'client-refused'
  /** Our own certificate or key cannot be used. */
  | 'unusable-key'
  | 'no-tls';

const TROUBLES: ReadonlyMap<string, TlsTrouble> = new Map([
  ['SELF_SIGNED_CERT_IN_CHAIN', 'untrusted'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'untrusted'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'untrusted'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'untrusted'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'untrusted'],
  ['CERT_SIGNATURE_FAILURE', 'untrusted'],
  ['CERT_CHAIN_TOO_LONG', 'untrusted'],
  ['CERT_UNTRUSTED', 'untrusted'],
  ['CERT_REJECTED', 'untrusted'],
  ['CERT_REVOKED', 'untrusted'],
  ['INVALID_CA', 'untrusted'],
  ['INVALID_PURPOSE', 'untrusted'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'other-name'],
  ['HOSTNAME_MISMATCH', 'other-name'],
  ['CERT_HAS_EXPIRED', 'expired'],
  ['CERT_NOT_YET_VALID', 'expired'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'no-tls'],
  // What OpenSSL 3.2 and later make of the first bytes of a port that speaks plain AMQP.
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'no-tls'],
]);

/** What the other end says before it hangs up. */
const ALERTS: ReadonlyMap<string, TlsTrouble> = new Map([
  ['CERTIFICATE_REQUIRED', 'client-wanted'],
  ['HANDSHAKE_FAILURE', 'client-wanted'],
  ['BAD_CERTIFICATE', 'client-refused'],
  ['CERTIFICATE_EXPIRED', 'client-refused'],
  ['CERTIFICATE_REVOKED', 'client-refused'],
  ['CERTIFICATE_UNKNOWN', 'client-refused'],
  ['UNSUPPORTED_CERTIFICATE', 'client-refused'],
  ['UNKNOWN_CA', 'client-refused'],
  ['DECRYPT_ERROR', 'client-refused'],
  ['PROTOCOL_VERSION', 'no-tls'],
]);

/**
 * Before an alert stands the protocol that it came with first, and not always under one name: `SSLV3` became `SSL/TLS` with OpenSSL 3.2,
 * so with Node 24.
 */
const ALERT = /^ERR_SSL_[A-Z0-9/]+_ALERT_(?<name>\w+)$/;

/** Our own files are read before anything is sent, by parts of OpenSSL that have codes of this kind. */
const OF_OUR_FILES = /^ERR_OSSL_/;
const CAUSES = 5;

export function tlsTrouble(error: unknown): TlsTrouble | undefined {
  let at = error;
  for (let depth = 0; depth < CAUSES && at instanceof Error; depth++) {
    const code = 'code' in at && typeof at.code === 'string' ? at.code : '';
    const alert = ALERT.exec(code)?.groups?.['name'];
    const known = alert === undefined ? TROUBLES.get(code) : ALERTS.get(alert);
    if (known) return known;
    if (OF_OUR_FILES.test(code)) return 'unusable-key';
    at = at.cause;
  }
  return undefined;
}

export interface TlsWords {
  /** "RabbitMQ". */
  readonly server: string;
  /** The settings, in backticks: where the authority is named, where our certificate, key and its passphrase are. */
  readonly ca: string;
  readonly own: string;
  /** What to set where the server is reached under another name than its certificate has. */
  readonly name: string;
}

/** What it means, and what to do. */
export function explainTls(trouble: TlsTrouble, { server, ca, own, name }: TlsWords): string {
  switch (trouble) {
    case 'untrusted':
      return `${server}'s certificate is signed by nobody this machine trusts. Name the authority that signed it in ${ca}.`;
    case 'other-name':
      return `${server}'s certificate is for another host than the URI names, or this is another server. ${name}`;
    case 'expired':
      return `${server}'s certificate is not valid any more, or not yet. Renew it there, and look at both clocks.`;
    case 'client-wanted':
      return `${server} wants a certificate of ours, and got none that it takes. Name one, and its key, in ${own}.`;
    case 'client-refused':
      return `${server} does not accept our certificate. Is it one that its authority signed, and still valid? See ${own}.`;
    case 'unusable-key':
      return `our certificate or its key cannot be used: no PEM file, a key that is another certificate's, or a wrong passphrase. See ${own}.`;
    case 'no-tls':
      return `${server} does not speak TLS on this port, or no version that both know. Look at the URI's scheme, options and port.`;
  }
}
