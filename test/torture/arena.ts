/**
 * What a case is given: how much it is to do, chance that its seed decides, and servers. Those that it asks for without options
 * of its own are shared with the cases before and behind it, so it leaves them as they were; others are its own, and gone
 * with it.
 */
import { Random, derivedSeed } from '../equality/random.ts';
import { startMongo, startRabbit } from '../servers/index.ts';
import type { MongoOptions, MongoServer, RabbitOptions, RabbitServer } from '../servers/index.ts';

export interface ArenaOptions {
  readonly size: 'short' | 'long';
  readonly seed: number;
  readonly servers: Servers;
  /** Told of what a reader of the run would want to know. */
  readonly say: (line: string) => void;
}

export class Arena implements AsyncDisposable {
  readonly random: Random;
  readonly say: (line: string) => void;
  readonly #size: 'short' | 'long';
  readonly #servers: Servers;
  readonly #own: { stop(): Promise<void> }[] = [];

  constructor({ size, seed, servers, say }: ArenaOptions) {
    this.random = new Random(seed);
    this.say = say;
    this.#size = size;
    this.#servers = servers;
  }

  /** The short form's choice, or the long one's. */
  pick<T>(short: T, long: T): T {
    return this.#size === 'short' ? short : long;
  }

  /** A name for databases, queues and exchanges that no other trial has. */
  uniqueName(): string {
    return `t${this.random.below(2 ** 32).toString(36)}`;
  }

  /** Of three members, shared like the others. */
  async replicaSet(): Promise<MongoServer> {
    return await this.#servers.replicaSet();
  }

  async mongo(options?: Omit<MongoOptions, 'version'>): Promise<MongoServer> {
    if (options === undefined) return await this.#servers.mongo();
    const server = await this.#servers.newMongo(options);
    this.#own.push(server);
    return server;
  }

  async rabbit(options?: Omit<RabbitOptions, 'version'>): Promise<RabbitServer> {
    if (options === undefined) return await this.#servers.rabbit();
    const server = await this.#servers.newRabbit(options);
    this.#own.push(server);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#own.map(async (server) => server.stop()));
  }
}

/**
 * Members ask for each piece of the oplog rather than have it sent ahead: what was sent to one that is stopped, megabytes in
 * the system's buffers, would be the set's once it goes on, and could not be rolled back.
 */
const ASKING = ['--setParameter', 'oplogFetcherUsesExhaust=false'];

/** The servers of a run, of one version each; started when they are first asked for. */
export class Servers implements AsyncDisposable {
  readonly #versions: { readonly mongo?: string | undefined; readonly rabbit?: string | undefined };
  #mongo: Promise<MongoServer> | undefined;
  #replicaSet: Promise<MongoServer> | undefined;
  #rabbit: Promise<RabbitServer> | undefined;

  constructor(versions: { readonly mongo?: string | undefined; readonly rabbit?: string | undefined } = {}) {
    this.#versions = versions;
  }

  mongo(): Promise<MongoServer> {
    this.#mongo ??= this.newMongo({});
    return this.#mongo;
  }

  rabbit(): Promise<RabbitServer> {
    this.#rabbit ??= this.newRabbit({});
    return this.#rabbit;
  }

  replicaSet(): Promise<MongoServer> {
    this.#replicaSet ??= this.newMongo({ members: 3, args: ASKING });
    return this.#replicaSet;
  }

  newMongo(options: MongoOptions): Promise<MongoServer> {
    const { mongo: version } = this.#versions;
    return startMongo({ ...options, ...(version !== undefined && { version }) });
  }

  newRabbit(options: RabbitOptions): Promise<RabbitServer> {
    return startRabbit({ ...options, version: this.#versions.rabbit });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const started = await Promise.allSettled([this.#mongo, this.#replicaSet, this.#rabbit]);
    await Promise.all(started.map(async (one) => (one.status === 'fulfilled' ? one.value?.stop() : undefined)));
  }
}

/** A case's own, out of the run's: the same whichever cases are run with it. */
export function seedOf(seed: number, name: string): number {
  let hash = 0;
  for (const char of name) hash = (Math.imul(hash, 31) + char.codePointAt(0)!) >>> 0;
  return derivedSeed(seed, hash);
}
