/**
 * Finds the member to read from. The user's URI makes the client that knows the whole set and its readPreference; what it
 * selects is then reached by a client of its own. A member that proved unfit is avoided for a while, if there is another.
 */
import { MongoClient, MongoNetworkError, MongoServerSelectionError } from 'mongodb';
import type { MongoClientOptions, MongoOptions } from 'mongodb';
import { withoutSecrets } from '../config/redact.ts';
import { UserError } from '../errors.ts';
import { readTlsFile } from '../tls-file.ts';
import { explainTls, tlsTrouble } from '../tls-trouble.ts';
import type { TlsTrouble } from '../tls-trouble.ts';
import type { Log } from '../observe/log.ts';
import { closeClient } from './close-client.ts';
import { classify } from './failures.ts';
import { parseHello } from './hello.ts';
import type { Hello } from './hello.ts';
import { Member, MemberUnfitError } from './member.ts';
import type { MemberOptions } from './member.ts';
import { withoutPoolChecks } from './pool-checks.ts';

export interface ReplicaSetOptions {
  /** The source's name, for messages. */
  readonly source: string;
  readonly uri: string;
  readonly ioTimeoutMs: number;
  readonly cursorTimeoutMs?: number;
  /** A mongos will do. */
  readonly mongos?: boolean;
  readonly log: Log;
  readonly now?: () => number;
}

const TLS_FILES = ['tlsCAFile', 'tlsCRLFile', 'tlsCertificateKeyFile'] as const;
const AVOID_MS = 15_000;
const DRIVER_DEFAULT_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** While a member is being avoided the driver may still believe in it. */
const DISTRUST_MS = 2_000;

export class ReplicaSet {
  readonly #source: string;
  readonly #uri: string;
  readonly #timeouts: { readonly ioTimeoutMs: number; readonly cursorTimeoutMs?: number };
  readonly #mongos: boolean;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #avoided = new Map<string, number>();
  readonly #closing = new Set<Promise<void>>();
  #client: MongoClient | undefined;
  #hosts: readonly string[] = [];

  constructor({ source, uri, log, now = () => performance.now(), mongos = false, ...timeouts }: ReplicaSetOptions) {
    this.#source = source;
    this.#uri = uri;
    this.#timeouts = timeouts;
    this.#mongos = mongos;
    this.#log = log;
    this.#now = now;
  }

  /** For the next 15 s another member is preferred. */
  avoid(address: string): void {
    this.#avoided.set(address, this.#now() + AVOID_MS);
  }

  /** What it refuses the others refuse as well; once it is granted again, the preferred one is as good as before. */
  avoidAfter(error: unknown, address: string): void {
    if (classify(error).kind !== 'refused') this.avoid(address);
  }

  /** Connects to the member to read from. Throws `UserError` for what is no replica set. */
  async pick(stop: AbortSignal): Promise<{ readonly member: Member; readonly hello: Hello }> {
    this.#forgetAvoided();
    const preferred = await this.#preferred(stop);
    if (preferred !== undefined && !this.#avoided.has(preferred)) return this.#reach(preferred, stop);
    for (const address of this.#hosts) {
      if (this.#avoided.has(address)) continue;
      try {
        const reached = await this.#reach(address, stop);
        this.#log.warn(
          { code: 'other-member', source: this.#source, member: address },
          'Reading from another member than the preferred one.',
        );
        return reached;
      } catch (error) {
        if (stop.aborted) throw error;
        this.avoidAfter(error, address);
      }
    }
    // None is without fault: the preferred one then, or whatever the driver finds.
    this.#avoided.clear();
    if (preferred === undefined) throw new MemberUnfitError('no member of the replica set can be reached');
    return this.#reach(preferred, stop);
  }

  /** The same member over connections of its own, for what takes longer than a tail may wait. The caller releases it. */
  beside({ address }: Member, own: Pick<MemberOptions, 'ioTimeoutMs' | 'connections'>): Member {
    if (this.#client === undefined) throw new MemberUnfitError('the replica set has not been found yet');
    return new Member({ address, parsed: this.#client.options, ...own });
  }

  /** Asks each of the other members; those that do not answer are left out. `members` is how many the set has. */
  async askOthers<T>(
    besides: string,
    ask: (member: Member, signal: AbortSignal) => Promise<T>,
    stop: AbortSignal,
  ): Promise<{
    readonly members: number;
    readonly answers: readonly { readonly address: string; readonly answer: T }[];
  }> {
    const others = this.#hosts.filter((address) => address !== besides);
    const asked = others.map(async (address) => {
      const member = this.#member(address);
      try {
        return [{ address, answer: await ask(member, stop) }];
      } catch {
        return [];
      } finally {
        this.release(member);
      }
    });
    return { members: Math.max(1, this.#hosts.length), answers: (await Promise.all(asked)).flat() };
  }

  /** Closes a member's client in the background: one that hangs would hold up the next try by its deadline. */
  release(member: Member): void {
    const closing = member.close().catch(() => undefined);
    this.#closing.add(closing);
    void closing.then(() => this.#closing.delete(closing));
  }

  async close(): Promise<void> {
    await this.#client?.close();
    await Promise.all(this.#closing);
  }

  /** The address that the readPreference selects; undefined when only a distrusted driver would know. */
  async #preferred(stop: AbortSignal): Promise<string | undefined> {
    const distrust = this.#avoided.size > 0 && this.#hosts.length > 1;
    const signal = distrust ? AbortSignal.any([stop, AbortSignal.timeout(DISTRUST_MS)]) : stop;
    try {
      const client = await this.#connected(signal);
      const options = { readPreference: client.readPreference, signal };
      const hello = parseHello(await client.db('admin').command({ hello: 1 }, options));
      this.#insist(hello);
      if (hello.kind === 'mongos') {
        // They are all alike, and do not know each other.
        this.#hosts = client.options.hosts.map((one) => one.toString());
        return this.#hosts[0];
      }
      // With directConnection the user insists on one member, and its name may not be the one the set knows.
      const host = client.options.directConnection ? client.options.hosts[0]?.toString() : undefined;
      this.#hosts = host === undefined ? hello.hosts : [host];
      return host ?? hello.me;
    } catch (error) {
      if (error instanceof UserError || stop.aborted || !distrust) throw error;
      return undefined;
    }
  }

  async #connected(signal: AbortSignal): Promise<MongoClient> {
    if (this.#client !== undefined) return this.#client;
    const client = this.#makeClient();
    if (client.options.loadBalanced) throw this.#noReplicaSet('a load balancer');
    await this.#readFiles(client.options);
    try {
      await withAbort(Promise.race([client.connect(), this.#untilTlsFails(client)]), signal);
    } catch (error) {
      const seeds = client.options.hosts.map((host) => host.toString());
      const closing = closeClient(client).catch(() => undefined);
      this.#closing.add(closing);
      void closing.then(() => this.#closing.delete(closing));
      if (error instanceof MongoServerSelectionError) {
        await this.#askSeeds(client, seeds, signal);
        throw withHint(error, client.options);
      }
      throw error;
    }
    this.#client = client;
    return client;
  }

  /** The driver reads them as well; what it says of a folder is not which of them it is. */
  async #readFiles(options: Readonly<MongoOptions>): Promise<void> {
    if (!options.tls) return;
    for (const setting of TLS_FILES) {
      const path = options[setting];
      if (path !== undefined) await readTlsFile({ of: `source "${this.#source}"`, setting, path });
    }
  }

  /** Rejects once no seed is left whose TLS the user need not mend: the driver would go on trying, and say less. */
  #untilTlsFails(client: MongoClient): Promise<never> {
    const failed = new Map<string, TlsTrouble>();
    return new Promise((_, reject) => {
      client.on('serverHeartbeatFailed', ({ connectionId, failure }) => {
        const trouble = tlsTrouble(failure);
        if (!trouble) return;
        failed.set(connectionId, trouble);
        if (client.options.hosts.every((host) => failed.has(host.toString()))) reject(this.#tlsFault(trouble, failure));
      });
    });
  }

  #tlsFault(trouble: TlsTrouble, { message }: Error): UserError {
    const explained = explainTls(trouble, {
      server: 'MongoDB',
      ca: '`tlsCAFile`',
      own: '`tlsCertificateKeyFile` (certificate and key in one file) and `tlsCertificateKeyFilePassword`',
      name: "The URI's hosts, and the members' names in the set's configuration, have to be in their certificates.",
    });
    const said = withoutSecrets(message, this.#uri);
    return new UserError('tls-failed', `source "${this.#source}": ${explained} (${said}; TLS is set in the URI)`);
  }

  /** Where the URI names a set, the driver passes over whatever is none, and only says that it found nobody. */
  async #askSeeds(client: MongoClient, seeds: readonly string[], signal: AbortSignal): Promise<void> {
    const wanted = client.options.replicaSet as string | undefined;
    if (wanted === undefined || signal.aborted) return;
    for (const address of seeds) {
      const member = new Member({ address, parsed: client.options, ...this.#timeouts });
      try {
        const hello = await member.hello(signal);
        this.#insist(hello);
        if (hello.kind === 'mongos') {
          throw new UserError(
            'config-invalid',
            `source "${this.#source}": the URI asks for replicaSet=${wanted}, but ${address} is a mongos: leave replicaSet out.`,
          );
        }
        if (hello.kind === 'member' && hello.setName !== wanted) {
          throw new UserError(
            'other-replica-set',
            `source "${this.#source}": the URI asks for replicaSet=${wanted}, but ${address} is a member of ` +
              `"${hello.setName}": correct the one or the other.`,
          );
        }
      } catch (error) {
        if (error instanceof UserError) throw error;
      } finally {
        this.release(member);
      }
    }
  }

  async #reach(address: string, stop: AbortSignal): Promise<{ readonly member: Member; readonly hello: Hello }> {
    const member = this.#member(address);
    try {
      const hello = await member.hello(stop);
      this.#insist(hello);
      if (hello.role === 'other') {
        throw new MemberUnfitError(
          `${address} is neither primary nor secondary now (recovering, perhaps, or rolling back)`,
        );
      }
      return { member, hello };
    } catch (error) {
      this.avoidAfter(error, address);
      this.release(member);
      throw error;
    }
  }

  #member(address: string): Member {
    if (this.#client === undefined) throw new MemberUnfitError('the replica set has not been found yet');
    return new Member({ address, parsed: this.#client.options, ...this.#timeouts });
  }

  #insist(hello: Hello): void {
    switch (hello.kind) {
      case 'member':
        return;
      case 'mongos':
        if (this.#mongos) return;
        throw this.#noReplicaSet('a mongos');
      case 'standalone':
        throw this.#noReplicaSet('a standalone mongod');
      case 'uninitiated':
        throw new MemberUnfitError('the server waits for its replica set to be set up (rs.initiate())');
    }
  }

  #noReplicaSet(what: string): UserError {
    return new UserError(
      'not-a-replica-set',
      `source "${this.#source}": the URI leads to ${what}, which has no oplog to read. Name the members of a replica set ` +
        `(for a sharded cluster: those of one shard, or read it with \`mode: changeStream\`), or start mongod with --replSet and call rs.initiate().`,
    );
  }

  #makeClient(): MongoClient {
    try {
      const { options } = new MongoClient(this.#uri);
      return withoutPoolChecks(new MongoClient(this.#uri, clientOptions(options, this.#timeouts.ioTimeoutMs)));
    } catch (error) {
      // Without the cause: the errors of URL parsers carry what they were given, password and all.
      const reason = withoutSecrets(error instanceof Error ? error.message : 'not a string', this.#uri);
      throw new UserError('config-invalid', `source "${this.#source}": the URI cannot be understood: ${reason}`);
    }
  }

  #forgetAvoided(): void {
    const now = this.#now();
    for (const [address, until] of this.#avoided) {
      if (until <= now) this.#avoided.delete(address);
    }
  }
}

/** What the driver met at each server it tried. */
function errorsOf(error: MongoServerSelectionError): (Error | null)[] {
  const servers: ReadonlyMap<string, { readonly error: Error | null }> | undefined = error.reason?.servers;
  return [...(servers?.values() ?? [])].map((server) => server.error);
}

/** mongod gives no reason when it closes a connection that is not encrypted as it wants. */
function withHint(error: MongoServerSelectionError, { tls, tlsCertificateKeyFile }: Readonly<MongoOptions>): Error {
  const closed = errorsOf(error).some((one) => one instanceof MongoNetworkError && one.cause === undefined);
  if (!closed || (tls && tlsCertificateKeyFile !== undefined)) return error;
  const hint = tls
    ? 'it may want a certificate of ours (`tlsCertificateKeyFile`)'
    : 'it may insist on TLS (`tls=true`)';
  return new Error(`${error.message}: the server takes connections and closes them; ${hint}`, { cause: error });
}

/** `promise`, or the signal's reason if it fires first; the promise's later failure then goes nowhere. */
function withAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new Error('given up waiting', { cause: signal.reason }));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function clientOptions(parsed: Readonly<MongoOptions>, ioTimeoutMs: number): MongoClientOptions {
  return {
    appName: parsed.appName ?? 'tailrace',
    // The driver's default would hide for half a minute that nobody answers.
    ...(parsed.connectTimeoutMS === DRIVER_DEFAULT_TIMEOUT_MS ? { connectTimeoutMS: CONNECT_TIMEOUT_MS } : {}),
    serverSelectionTimeoutMS: CONNECT_TIMEOUT_MS,
    socketTimeoutMS: ioTimeoutMs,
    maxPoolSize: 2,
    retryReads: false,
  };
}
