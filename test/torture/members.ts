/**
 * The members of a replica set as a case meets them: which is the primary, which is read from, and what is done to one of them. A
 * member is known by its place in the set's URI. However a case ends, all of them are up and in the set again afterwards:
 * the next case may use the same set.
 */
import { MongoClient } from 'mongodb';
import type { Document } from 'mongodb';
import { until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import type { MongoServer } from '../servers/index.ts';

const ASK_MS = 1_000;

export class Members implements AsyncDisposable {
  readonly #mongo: MongoServer;

  constructor(mongo: MongoServer) {
    this.#mongo = mongo;
  }

  /** Rejects while there is none. */
  async primary(): Promise<number> {
    await using client = new MongoClient(this.#mongo.uri, { serverSelectionTimeoutMS: ASK_MS });
    const { me } = await client.db('admin').command({ hello: 1 });
    return this.#mongo.hosts.indexOf(String(me));
  }

  async secondaries(): Promise<readonly number[]> {
    const primary = await this.primary();
    return this.#mongo.hosts.map((_, place) => place).filter((place) => place !== primary);
  }

  /** The one that the engine reads from. */
  async readBy(engine: EngineProcess): Promise<number> {
    let place = -1;
    await until('the engine reads from a member', async () => {
      place = this.#mongo.hosts.indexOf((await engine.status()).sources['src']!.member ?? '');
      return place >= 0;
    });
    return place;
  }

  /** Another than `former`, where that is given. */
  async untilPrimary(former?: number): Promise<number> {
    let primary = -1;
    await until('there is a primary', async () => {
      primary = await this.primary();
      return primary >= 0 && primary !== former;
    });
    return primary;
  }

  /** The primary, which this one is, leaves that to another. */
  async stepDown(place: number): Promise<void> {
    // Refused while no other one has caught up, or may be elected yet.
    await until('it steps down', async () => {
      await this.ask(place, { replSetStepDown: 2, secondaryCatchUpPeriodSecs: 1 });
      return true;
    });
    await this.untilPrimary(place);
  }

  /** All are there, and one of them is the primary. */
  async untilWhole(): Promise<void> {
    await this.untilPrimary();
    for (const place of this.#mongo.hosts.keys()) await this.untilIn(place);
  }

  /** It is the primary or a secondary. */
  async untilIn(place: number): Promise<void> {
    await until(`member ${place} is in the set`, async () => {
      const hello = await this.ask(place, { hello: 1 });
      return hello['isWritablePrimary'] === true || hello['secondary'] === true;
    });
  }

  /** A command to one member's `admin`. */
  async ask(place: number, command: Document): Promise<Document> {
    await using client = await this.connect(place);
    return await client.db('admin').command(command);
  }

  /** To one member alone. */
  async connect(place: number): Promise<MongoClient> {
    const { uri, hosts } = this.#mongo;
    const alone = uri.replace(hosts.join(','), hosts[place]!).replace(/replicaSet=[^&]*/, 'directConnection=true');
    return await MongoClient.connect(alone, { serverSelectionTimeoutMS: ASK_MS, connectTimeoutMS: ASK_MS });
  }

  /** Changes the set's configuration, of which the members are in the order of the URI. */
  async reconfigure(change: (members: Document[]) => void): Promise<void> {
    await using client = await MongoClient.connect(this.#mongo.uri);
    const { config } = await client.db('admin').command({ replSetGetConfig: 1 });
    change(config.members as Document[]);
    config.version += 1;
    await client.db('admin').command({ replSetReconfig: config });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pids, hosts } = this.#mongo;
    for (const [place, pid] of pids.entries()) if (pid !== 0) this.#mongo.resume(place);
    const down = [...hosts.keys()].filter((place) => pids[place] === 0);
    if (down.length > 0) await this.#mongo.launch(...down);
    await this.untilWhole();
  }
}
