/**
 * One connection to RabbitMQ as the configuration wants it: heartbeat, TLS, login. Certificates and keys are read with each
 * connection, so that renewed ones are used without a restart. What of its refusals only the user can mend is told here, too.
 */
import { connect, credentials } from 'amqplib';
import { UserError } from '../errors.ts';
import type { RefusalCode } from '../errors.ts';
import { readTlsFile } from '../tls-file.ts';
import { explainTls, tlsTrouble } from '../tls-trouble.ts';
import { withoutSecrets } from '../config/redact.ts';
import type { ChannelModel } from 'amqplib';
import type { SinkConfig, SinkTlsConfig } from '../config/config.ts';

export interface ConnectOptions {
  /** What the broker shows of us. */
  readonly connectionName: string;
  readonly timeoutMs: number;
}

/**
 * What may wait for the socket before lanes stop publishing. With Node's own 16 KiB a large message ends the turn it is sent
 * in (`end-to-end`, 200 events a message: 6.6 µs an event instead of 5.6).
 */
const SOCKET_BUFFER = { writableHighWaterMark: 1024 * 1024 };

export async function connectTo(
  { name, uri, heartbeatMs, tls }: SinkConfig,
  { connectionName, timeoutMs }: ConnectOptions,
): Promise<ChannelModel> {
  return connect(withHeartbeat(uri, heartbeatMs), {
    ...SOCKET_BUFFER,
    noDelay: true,
    keepAlive: true,
    timeout: timeoutMs,
    clientProperties: { connection_name: connectionName },
    credentials: tls?.login === 'certificate' ? credentials.external() : passwordLogin(uri),
    ...(tls && (await tlsOptions(name, tls))),
  });
}

async function tlsOptions(sink: string, { ca, cert, key, passphrase, serverName }: SinkTlsConfig): Promise<object> {
  const read = Object.entries({ ca, cert, key }).flatMap(([name, path]) => {
    if (path === undefined) return [];
    const file = readTlsFile({ of: `sink "${sink}"`, setting: `sinks.${sink}.tls.${name}`, path });
    return [file.then((bytes) => [name, bytes] as const)];
  });
  return {
    ...Object.fromEntries(await Promise.all(read)),
    ...(passphrase !== undefined && { passphrase }),
    ...(serverName !== undefined && { servername: serverName }),
  };
}

/** amqplib (2.3) would read what is encoded in a URI as Latin-1: a password with an umlaut would be another one. */
function passwordLogin(uri: string): ReturnType<typeof credentials.plain> {
  const { username, password } = new URL(uri);
  if (username === '' && password === '') return credentials.plain('guest', 'guest');
  return credentials.plain(decoded(username), decoded(password));
}

/** One with a bare `%`, or with Latin-1, is what amqplib takes it for. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return unescape(part);
  }
}

/** amqplib takes the heartbeat from the URI alone, in whole seconds; the broker's default of 60 s is far too slow to notice. */
function withHeartbeat(uri: string, heartbeatMs: number): string {
  const url = new URL(uri);
  url.searchParams.set('heartbeat', String(Math.max(1, Math.round(heartbeatMs / 1000))));
  return url.href;
}

/** What only the user can mend, and what to do about it, for people. */
export interface ConnectTrouble {
  readonly code: RefusalCode;
  readonly text: string;
}

/** As it ends a start; undefined for what may pass by itself. */
export function connectFault(error: unknown, sink: SinkConfig): UserError | undefined {
  if (error instanceof UserError) return error;
  const trouble = connectTrouble(error, sink);
  return trouble && new UserError(trouble.code, `sink "${sink.name}": ${trouble.text}`, { cause: error });
}

/** Undefined for what may pass by itself. */
export function connectTrouble(error: unknown, { name: sink, uri, tls }: SinkConfig): ConnectTrouble | undefined {
  if (error instanceof UserError) return { code: error.code, text: error.message };
  const said = error instanceof Error ? error.message : '';
  const trouble = tlsTrouble(error);
  if (trouble) {
    const at = (setting: string): string => `\`sinks.${sink}.tls.${setting}\``;
    const explained = explainTls(trouble, {
      server: 'RabbitMQ',
      ca: at('ca'),
      own: `${at('cert')}, ${at('key')} and ${at('passphrase')}`,
      name: `If it is the right one, say what the certificate calls it in ${at('serverName')}.`,
    });
    // OpenSSL's own words end in places of its source.
    const reason = error instanceof Error && 'reason' in error ? String(error.reason) : said;
    const detail = withoutSecrets(reason.trim(), uri);
    return { code: 'tls-failed', text: `${explained} (${detail})` };
  }
  return handshakeTrouble(error, sink, tls?.login);
}

/**
 * Wrong credentials, or a virtual host that is not there, not ours, or full. amqplib gives the code only inside its message, and of the
 * last three nothing that would tell them apart.
 */
function handshakeTrouble(
  error: unknown,
  sink: string,
  login: SinkTlsConfig['login'] = 'password',
): ConnectTrouble | undefined {
  const said = error instanceof Error ? error.message : '';
  const code = /^Handshake terminated by server: (?<code>\d{3})/.exec(said)?.groups?.['code'];
  if (code === '403') {
    return {
      code: 'credentials-refused',
      text:
        login === 'certificate'
          ? 'RabbitMQ refused the login by certificate. It needs the plugin rabbitmq_auth_mechanism_ssl, EXTERNAL among its ' +
            'auth_mechanisms, and a user named after the certificate (`ssl_cert_login_from` says after what of it).'
          : `RabbitMQ refused the user or password. Check them in \`sinks.${sink}.uri\`.`,
    };
  }
  // Where the virtual host is refused, amqplib (2.3) says only that it had expected something else.
  if (code === '530' || said.startsWith('Expected ConnectionOpenOk; got <ConnectionClose')) {
    return {
      code: 'rights-missing',
      text:
        'RabbitMQ does not let this user into the virtual host, or there is none of that name, or it or the user has as many ' +
        `connections as it may have. Check the path of \`sinks.${sink}.uri\` ("/" is written %2F), create it, grant the user rights ` +
        'on it, or raise the limit (`rabbitmqctl list_vhost_limits`, `list_user_limits`).',
    };
  }
  return undefined;
}
