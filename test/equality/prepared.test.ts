import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Binary, Int32, Long } from 'bson';
import type { Document, Timestamp } from 'bson';
import type { MongoServer } from '../servers/index.ts';
import { mark, placeOf } from './campaign.ts';
import { differences } from './compare.ts';
import { EngineListener } from './engine-listener.ts';
import { Random } from './random.ts';
import { ServerListener } from './server-listener.ts';
import { documentOf } from './updates.ts';
import { startCompared } from './server.ts';
import { Wire } from './wire.ts';

// The server prepares transactions by itself only in sharded clusters; with its test commands a replica set does it too.
describe('prepared transactions give the events of the server’s change stream', () => {
  let mongo: MongoServer;

  before(async () => {
    mongo = await startCompared({ args: ['--setParameter', 'enableTestCommands=1'] });
  });

  after(async () => {
    await mongo.stop();
  });

  test(
    'committed and aborted ones, of one entry and of several, among other writes',
    { timeout: 120_000 },
    async () => {
      await compared(mongo, async ({ open, write }) => {
        const one = await open(2);
        const several = await open(8);
        const lost = await open(8);
        const unprepared = await open(7);
        await write();
        await one.prepare();
        await write();
        await several.prepare();
        await lost.prepare();
        await write();
        await several.commit();
        await lost.abort();
        await write();
        await one.commit();
        await unprepared.commit();
      });
    },
  );

  test('over a restart of ours between prepare and commit', { timeout: 120_000 }, async () => {
    await compared(mongo, async ({ open, write, engine }) => {
      const kept = await open(8);
      const lost = await open(3);
      await kept.prepare();
      await lost.prepare();
      await write();
      await engine.restart();
      await write();
      await lost.abort();
      await kept.commit();
    });
  });

  test('over a restart of mongod between prepare and commit', { timeout: 120_000 }, async () => {
    await compared(mongo, async ({ open, write, reconnect }) => {
      const kept = await open(8);
      const single = await open(1);
      const lost = await open(3);
      await kept.prepare();
      await single.prepare();
      await lost.prepare();
      await write();
      await mongo.restart();
      await reconnect();
      await write();
      await lost.abort();
      await single.commit();
      await kept.commit();
    });
  });

  test('when ours starts between prepare and commit', { timeout: 120_000 }, async () => {
    await compared(
      mongo,
      async ({ open, write, listen }) => {
        const kept = await open(8);
        await kept.prepare();
        await write();
        await listen();
        await kept.commit();
        await write();
      },
      { late: true },
    );
  });
});

interface Stage {
  /** A transaction with so many inserts. */
  readonly open: (inserts: number) => Promise<Transaction>;
  /** One insert outside of all transactions. */
  readonly write: () => Promise<void>;
  readonly engine: EngineListener;
  /** After a restart of mongod. */
  readonly reconnect: () => Promise<void>;
  /** Where both begin to listen; from the start, unless `late`. */
  readonly listen: () => Promise<void>;
}

async function compared(
  mongo: MongoServer,
  act: (stage: Stage) => Promise<void>,
  { late = false }: { late?: boolean } = {},
): Promise<void> {
  let wire = await Wire.open(mongo.uri);
  let engine: EngineListener | undefined;
  let since: Timestamp | undefined;
  let number = 0;
  const random = new Random(1);
  const insert = (): object => ({ insert: 'c', documents: [documentOf(random, ++number, new Int32(number))] });
  const listen = async (): Promise<void> => {
    since = await mark(wire);
    engine = await EngineListener.open({ uri: mongo.uri, after: since, ddl: false, expanded: false });
  };
  try {
    await wire.command('prepared', { drop: 'c' });
    await wire.run('prepared', { create: 'c' });
    if (!late) await listen();
    await act({
      open: async (inserts) => {
        const transaction = new Transaction(() => wire);
        for (let k = 0; k < inserts; k++) await transaction.run('prepared', insert());
        return transaction;
      },
      write: async () => void (await wire.run('prepared', insert())),
      get engine() {
        return engine!;
      },
      reconnect: async () => {
        await wire[Symbol.asyncDispose]();
        wire = await Wire.open(mongo.uri);
      },
      listen,
    });
    const end = placeOf(await mark(wire));
    // Read from the past: a change stream of the driver would have had to survive mongod's restart.
    await using server = await ServerListener.open(mongo.uri, { after: since!, expanded: false });
    await server.upTo(placeOf(since!));
    const theirs = await server.upTo(end);
    const { events: ours, parked } = await engine!.upTo(end);
    assert.deepEqual(parked, []);
    const found = differences(ours, theirs).map(
      ({ place, what, ours, theirs }) => `${place} ${what}: ${ours} / ${theirs}`,
    );
    assert.deepEqual(found, []);
    assert.ok(theirs.some(({ place }) => place.index > 0));
  } finally {
    await engine?.[Symbol.asyncDispose]();
    await wire[Symbol.asyncDispose]();
  }
}

let transactions = 0;

class Transaction {
  readonly #wire: () => Wire;
  readonly #session: object;
  #started = false;
  #prepared: Timestamp | undefined;

  constructor(wire: () => Wire) {
    this.#wire = wire;
    transactions += 1;
    const id = new Binary(Buffer.from(String(transactions).padStart(16, 'p')), 4);
    this.#session = { lsid: { id }, txnNumber: Long.fromNumber(1), autocommit: false };
  }

  async run(db: string, command: object): Promise<Document> {
    const start = this.#started ? {} : { startTransaction: true };
    this.#started = true;
    return await this.#wire().run(db, { ...command, ...this.#session, ...start });
  }

  async prepare(): Promise<void> {
    const reply = await this.run('admin', { prepareTransaction: 1, writeConcern: { w: 'majority' } });
    this.#prepared = reply['prepareTimestamp'] as Timestamp;
  }

  async commit(): Promise<void> {
    const at = this.#prepared === undefined ? {} : { commitTimestamp: this.#prepared };
    await this.run('admin', { commitTransaction: 1, ...at, writeConcern: { w: 'majority' } });
  }

  async abort(): Promise<void> {
    await this.run('admin', { abortTransaction: 1, writeConcern: { w: 'majority' } });
  }
}
