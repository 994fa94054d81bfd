/**
 * A real replica set of one or three members, in temporary folders and on ports that stay the same over `kill` and
 * `restart`, so that a client's URI stays good. Data lives until `stop`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { INSTALL_MONGOD, mongodBinary } from './mongod-binary.ts';
import { olderMongod } from './older-mongod.ts';
import { freePort } from './ports.ts';
import { reap, reapFolder, spare, spareFolder } from './reaper.ts';
import { killGroup, untilGone } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

export interface MongoServer {
  readonly uri: string;
  /** One a member, in the order of `uri`; 0 for one that is down. */
  readonly pids: readonly number[];
  /** `host:port` of each member, in the order of `uri`. */
  readonly hosts: readonly string[];
  /** SIGKILL, of one member (its place in `uri`) or of all. */
  kill(member?: number): Promise<void>;
  /** A clean shutdown where it still runs, then the same data on the same port; resolves once there is a primary. */
  restart(member?: number): Promise<void>;
  /** The processes of members that are down, with the data they left; waits for no primary. */
  launch(...members: readonly number[]): Promise<void>;
  /** Of a member that is down: it will know nothing. */
  removeData(member: number): Promise<void>;
  /** SIGSTOP: the member keeps its connections and never answers. */
  suspend(member: number): void;
  resume(member: number): void;
  stop(): Promise<void>;
}

export interface MongoOptions {
  readonly members?: 1 | 3;
  /** Further arguments of every member: `['--oplogSize', '1']`. */
  readonly args?: readonly string[];
  /** False: `MONGODB_URI` of the environment will do. */
  readonly fresh?: boolean;
  /** How soon the others elect a new primary; the server's own default of 10 s makes tests of a failover slow. */
  readonly electionTimeoutMs?: number;
  /** The set asks for credentials; these are its administrator's, and in `uri`. */
  readonly auth?: { readonly user: string; readonly password: string };
  /** One of `OLDER_VERSIONS`, rather than whatever mongod is at hand. */
  readonly version?: string;
  readonly progress?: Progress;
}

const SET_NAME = 'rs0';

export async function startMongo({
  members = 1,
  args = [],
  fresh = true,
  electionTimeoutMs = 2_000,
  auth,
  version,
  progress,
}: MongoOptions = {}): Promise<MongoServer> {
  const given = process.env['MONGODB_URI'];
  if (!fresh && given !== undefined && given !== '') return givenMongo(given);

  const binary = await (version === undefined ? mongodBinary(progress) : olderMongod(version, progress));
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-mongo-'));
  reapFolder(folder);
  const ports: number[] = [];
  while (ports.length < members) {
    const port = await freePort();
    if (!ports.includes(port)) ports.push(port);
  }
  const instanceOpts = ports.map((port, index) => ({ port, dbPath: join(folder, `${index}`), launchTimeout: 60_000 }));
  await Promise.all(instanceOpts.map(({ dbPath }) => mkdir(dbPath)));

  // Each member leads a process group, so that Ctrl-C in a terminal reaches this process alone and it decides.
  const set = new MongoMemoryReplSet({
    binary,
    instanceOpts,
    replSet: {
      name: SET_NAME,
      count: members,
      storageEngine: 'wiredTiger',
      args: ['--quiet', '--nounixsocket', '--slowms', '10000', ...args],
      spawn: { detached: true },
      // From the primary alone: one that copies from another which hangs stops for 15 s, and a majority of three with it.
      configSettings: { electionTimeoutMillis: electionTimeoutMs, chainingAllowed: false },
      ...(auth && { auth: { enable: true, customRootName: auth.user, customRootPwd: auth.password } }),
    },
  });
  try {
    return await new OwnMongo({ set, folder, ports, auth }).start();
  } catch (error) {
    if ('systemBinary' in binary) throw error;
    throw new ServersUnavailable(INSTALL_MONGOD, { cause: error });
  }
}

interface OwnMongoOptions {
  readonly set: MongoMemoryReplSet;
  readonly folder: string;
  readonly ports: readonly number[];
  readonly auth: MongoOptions['auth'];
}

class OwnMongo implements MongoServer {
  readonly uri: string;
  readonly hosts: readonly string[];
  readonly #set: MongoMemoryReplSet;
  readonly #folder: string;

  constructor({ set, folder, ports, auth }: OwnMongoOptions) {
    this.#set = set;
    this.#folder = folder;
    this.hosts = ports.map((port) => `127.0.0.1:${port}`);
    const [who, authSource] = auth
      ? [`${auth.user}:${encodeURIComponent(auth.password)}@`, '&authSource=admin']
      : ['', ''];
    this.uri = `mongodb://${who}${this.hosts.join(',')}/?replicaSet=${SET_NAME}${authSource}`;
  }

  async start(): Promise<this> {
    try {
      await this.#set.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
    for (const pid of this.pids) reap(pid);
    return this;
  }

  get pids(): number[] {
    return this.#instances().map(({ mongodProcess }) =>
      mongodProcess?.pid !== undefined && mongodProcess.exitCode === null && mongodProcess.signalCode === null
        ? mongodProcess.pid
        : 0,
    );
  }

  async kill(member?: number): Promise<void> {
    const pids = this.#chosen(this.pids, member).filter((pid) => pid !== 0);
    for (const pid of pids) killGroup(pid);
    await Promise.all(pids.map(async (pid) => untilGone(pid)));
    for (const pid of pids) spare(pid);
  }

  async restart(member?: number): Promise<void> {
    const chosen = this.#chosen(this.#instances(), member);
    const before = this.#chosen(this.pids, member);
    // Together: members that go down one by one wait for each other.
    await Promise.all(chosen.map(async (instance) => instance.stop()));
    for (const pid of before) spare(pid);
    await Promise.all(chosen.map(async (instance) => instance.start()));
    for (const pid of this.#chosen(this.pids, member)) reap(pid);
    await primary(this.uri);
  }

  async launch(...members: readonly number[]): Promise<void> {
    const chosen = members.map((member) => this.#instances()[member]!);
    // Dead already: this ends what the library keeps of it.
    await Promise.all(chosen.map(async (instance) => instance.stop()));
    await Promise.all(chosen.map(async (instance) => instance.start()));
    for (const member of members) reap(this.pids[member]!);
  }

  async removeData(member: number): Promise<void> {
    const path = join(this.#folder, `${member}`);
    await rm(path, { recursive: true, maxRetries: 5 });
    await mkdir(path);
  }

  suspend(member: number): void {
    process.kill(this.pids[member]!, 'SIGSTOP');
  }

  resume(member: number): void {
    process.kill(this.pids[member]!, 'SIGCONT');
  }

  async stop(): Promise<void> {
    await this.kill();
    // The processes are dead; what is left are the library's own watchers of them.
    await Promise.all(this.#instances().map(async (instance) => instance.stop()));
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    spareFolder(this.#folder);
  }

  #instances() {
    return this.#set.servers.flatMap(({ instanceInfo }) => (instanceInfo === undefined ? [] : [instanceInfo.instance]));
  }

  #chosen<T>(all: readonly T[], member: number | undefined): readonly T[] {
    return member === undefined ? all : all.slice(member, member + 1);
  }
}

async function primary(uri: string): Promise<void> {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 60_000 });
  try {
    await client.db('admin').command({ ping: 1 });
  } finally {
    await client.close();
  }
}

function givenMongo(uri: string): MongoServer {
  const refuse = (): never => {
    throw new Error('this mongod came from MONGODB_URI: it is not ours to kill or restart');
  };
  return {
    uri,
    pids: [],
    hosts: [],
    kill: refuse,
    restart: refuse,
    launch: refuse,
    removeData: refuse,
    suspend: refuse,
    resume: refuse,
    stop: async () => {},
  };
}
