/** The rights that docs/security.md names are read from it, and are exactly what an engine needs: with one less it says what is missing. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import type { Document } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { mongodBinary } from '../servers/mongod-binary.ts';

interface Role extends Document {
  readonly createRole: string;
  readonly privileges: readonly Privilege[];
}

interface Privilege {
  readonly resource: Document;
  readonly actions: readonly string[];
}

type Permissions = readonly [configure: string, write: string, read: string];

const page = await readFile(new URL('../../docs/security.md', import.meta.url), 'utf8');
const roles = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => JSON.parse(text!) as Role);
const permissions = [
  ...page.matchAll(/^rabbitmqctl set_permissions -p \/ tailrace '([^']*)' '([^']*)' '([^']*)'$/gm),
].map(([, configure, write, read]): Permissions => [configure!, write!, read!]);

const PASSWORD = 'rights';

describe('with the rights that the documentation names', () => {
  let mongod: MongoMemoryReplSet;
  let root: MongoClient;
  let rabbit: RabbitServer;

  const mongoUri = (user: string): string => {
    const hosts = mongod.servers.map((server) => `127.0.0.1:${server.instanceInfo?.port}`).join(',');
    return `mongodb://${user}:${PASSWORD}@${hosts}/?replicaSet=rs0&authSource=admin`;
  };

  before(async () => {
    const auth = { enable: true, customRootName: 'root', customRootPwd: PASSWORD };
    const replSet = { name: 'rs0', count: 1, storageEngine: 'wiredTiger' as const, auth };
    [mongod, rabbit] = await Promise.all([
      MongoMemoryReplSet.create({ binary: await mongodBinary(), replSet }),
      startRabbit(),
    ]);
    root = await MongoClient.connect(mongoUri('root'));
    await rabbit.ctl(['add_user', 'tailrace', PASSWORD]);
    for (const role of roles) await makeUser(role.createRole, role.privileges);
    // Something to be found, or to be left out.
    await root.db('shop').createCollection('names', { collation: { locale: 'de', strength: 2 } });
  });

  after(async () => {
    await root?.close();
    await Promise.all([mongod?.stop(), rabbit?.stop()]);
  });

  async function makeUser(name: string, privileges: readonly Privilege[]): Promise<string> {
    const admin = root.db('admin');
    await admin.command({ createRole: name, privileges, roles: [] });
    await admin.command({ createUser: name, pwd: PASSWORD, roles: [name] });
    return name;
  }

  interface Setup {
    readonly user?: string;
    readonly source?: object;
    readonly granted?: Permissions | undefined;
    readonly declare?: boolean;
    readonly to?: object;
    readonly namespaces?: readonly string[];
    /** Of the subscription. */
    readonly more?: object;
  }

  const ORDERS = { exchange: 'changes', queues: [{ name: 'orders' }] };
  const QUEUE = { queue: 'orders' };

  async function setUp({
    user = 'tailrace',
    source,
    granted,
    declare = true,
    to = ORDERS,
    namespaces = ['shop.*'],
    more,
  }: Setup): Promise<EngineFolder> {
    await rabbit.ctl(['set_permissions', '-p', '/', 'tailrace', ...(granted ?? ['.*', '.*', '.*'])]);
    const connection = await connect(rabbit.uri);
    const channel = await connection.createChannel();
    await channel.deleteQueue('orders');
    await channel.deleteExchange('changes');
    if (!declare) {
      await channel.assertExchange('changes', 'topic', { durable: true });
      await channel.assertQueue('orders', { durable: true });
      await channel.bindQueue('orders', 'changes', '#');
    }
    await connection.close();
    return EngineFolder.create({
      sources: { src: { uri: mongoUri(user), ...source } },
      sinks: { mq: { uri: rabbit.uri.replace('://', `://tailrace:${PASSWORD}@`), declare } },
      subscriptions: [{ name: 'orders', namespaces, to, ...more }],
      pipeline: { partitionBy: [{ namespaces: ['shop.*'], key: 'document' }] },
    });
  }

  const warnings = (engine: EngineProcess): string[] =>
    engine
      .log()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { level: string; msg: string })
      .filter(({ level }) => level !== 'info')
      .map(({ msg }) => msg);

  /** Delivers a change, and returns what was logged beyond `info`. */
  async function delivers(setup: Setup, snapshotOf?: string): Promise<string[]> {
    await using place = await setUp({ ...setup, ...(snapshotOf && { namespaces: [`shop.${snapshotOf}`] }) });
    const engine = place.start();
    await until('it is ready', async () => (await engine.ready()).ok);
    if (snapshotOf === undefined) await root.db('shop').collection('orders').insertOne({});
    await until('it is delivered', async () => (await countMessages(rabbit.uri, 'orders')) === 1);
    assert.equal(await engine.terminate(), 0);
    return warnings(engine);
  }

  const COLLATED = 'These collections have a default collation';
  const onlyCollated = (logged: readonly string[]): void => {
    assert.equal(logged.length, 1, logged.join('\n'));
    assert.ok(logged[0]!.startsWith(COLLATED));
  };

  test('the page names roles for both modes, and permissions for each kind of destination', () => {
    assert.deepEqual(
      roles.map((role) => role.createRole),
      ['tailrace', 'tailraceStream'],
    );
    assert.equal(permissions.length, 4);
  });

  test('an engine delivers, from an oplog or a change stream, and warns of nothing that it may not do', async () => {
    onlyCollated(await delivers({ granted: permissions[0] }));
    onlyCollated(await delivers({ granted: permissions[1], declare: false }));
    onlyCollated(await delivers({ granted: permissions[2], to: QUEUE }));
    const source = { mode: 'changeStream' };
    onlyCollated(
      await delivers({ user: 'tailraceStream', source, granted: permissions[3], declare: false, to: QUEUE }),
    );
  });

  test('the check finds nothing to mend', async () => {
    for (const [user, source] of [
      ['tailrace', {}],
      ['tailraceStream', { mode: 'changeStream' }],
    ] as const) {
      await using place = await setUp({ user, source, granted: permissions[0] });
      const { code, stdout } = await place.command('check');
      assert.equal(code, 0, stdout);
      assert.doesNotMatch(stdout, /warning/);
      assert.match(stdout, /subscription orders matches \d of/);
    }
  });

  test('a watched database needs rights on that one only', async () => {
    const [whole, replset] = roles[1]!.privileges;
    const privileges = [{ resource: { db: 'shop', collection: '' }, actions: whole!.actions }, replset!];
    const user = await makeUser('shopStream', privileges);
    onlyCollated(await delivers({ user, source: { mode: 'changeStream', changeStream: { watch: 'shop' } } }));
  });

  async function without(role: Role, left: number): Promise<string> {
    const name = `${role.createRole}Without${left}`;
    return makeUser(
      name,
      role.privileges.filter((_, n) => n !== left),
    );
  }

  /** The last line, and the check's output, of a start that is refused. */
  async function refused(setup: Setup): Promise<{ run: string; check: string }> {
    await using place = await setUp(setup);
    const engine = place.start();
    assert.equal(await engine.ended(), 2, engine.log());
    const { code, stdout } = await place.command('check');
    return { run: warnings(engine).at(-1)!, check: code === 2 ? stdout : '' };
  }

  test('without one of the privileges in MongoDB it says which', async () => {
    const oplog = await refused({ user: await without(roles[0]!, 0) });
    assert.match(oplog.run, /may not read the oplog .*Grant/);
    assert.match(oplog.check, /FAULT +the user may not read the oplog: grant it `find` on local\.oplog\.rs/);

    const stream = await refused({ user: await without(roles[1]!, 0), source: { mode: 'changeStream' } });
    assert.match(stream.run, /may not watch deployment .*Grant/);
    assert.match(stream.check, /FAULT +the user may not watch deployment/);

    const nameless = await delivers({ user: await without(roles[0]!, 1) });
    assert.ok(
      nameless.some((line) => /told apart by its name only.*system\.replset/.test(line)),
      nameless.join('\n'),
    );
    const unknown = /default collation cannot be told apart here.* grant listCollections and listDatabases/;
    // Those in databases that he has a right on are found all the same.
    const unlisted = await delivers({ user: await without(roles[0]!, 2) });
    assert.equal(unlisted.length, 2, unlisted.join('\n'));
    assert.match(unlisted[0]!, unknown);
    onlyCollated(unlisted.slice(1));
    const unseen = await delivers({ user: await without(roles[0]!, 3) });
    assert.equal(unseen.length, 1, unseen.join('\n'));
    assert.match(unseen[0]!, unknown);
  });

  test('whole documents take a right more, and without it the source waits and says so', async () => {
    const lookup = { fullDocument: 'updateLookup' };
    await using place = await setUp({ granted: permissions[0], more: lookup });
    const { stdout } = await place.command('check');
    assert.match(stdout, /FAULT +subscription orders: .*may not read shop\.names.*: grant it `find` there/);
    const engine = place.start();
    await until('it is ready', async () => (await engine.ready()).ok);
    const documents = root.db('shop').collection<{ _id: number; n?: number }>('orders');
    await documents.insertOne({ _id: 1 });
    await documents.updateOne({ _id: 1 }, { $set: { n: 1 } });
    await until('it says what it may not', async () =>
      (await engine.ready()).reasons.some((reason) => /cannot be read .*not authorized on shop/.test(reason)),
    );
    const find = { resource: { db: 'shop', collection: '' }, actions: ['find'] };
    await root.db('admin').command({ grantPrivilegesToRole: 'tailrace', privileges: [find] });
    await until('it is delivered', async () => (await countMessages(rabbit.uri, 'orders')) === 2);
    await until('it is ready again', async () => (await engine.ready()).ok);
    assert.equal(await engine.terminate(), 0);
    assert.doesNotMatch((await place.command('check')).stdout, /FAULT/);
    await root.db('admin').command({ revokePrivilegesFromRole: 'tailrace', privileges: [find] });
    await documents.drop();
  });

  test('without `listCollections` a snapshot makes nothing known to `images: local`, and says so', async () => {
    const find = { resource: { db: 'shop', collection: '' }, actions: ['find'] };
    const user = await makeUser('tailraceUnlisted', [...roles[0]!.privileges.slice(0, -1), find]);
    const local = { fullDocument: 'whenAvailable', images: 'local' };
    const allowed = await makeUser('tailraceListed', [...roles[0]!.privileges, find]);
    await root.db('shop').collection<{ _id: number }>('known').insertOne({ _id: 1 });
    const logged = async (who: string): Promise<string[]> =>
      delivers({ user: who, source: { start: 'snapshot' }, granted: permissions[0]!, more: local }, 'known');
    const unlisted = await logged(user);
    assert.ok(
      unlisted.some((line) => /do not become known.*listCollections/.test(line)),
      unlisted.join('\n'),
    );
    onlyCollated(await logged(allowed));
    await root.db('shop').collection('known').drop();
  });

  test('without one of the permissions in RabbitMQ it says which', async () => {
    const [configure, write, read] = permissions[0]!;
    const exchange = await refused({ granted: [configure.replace('changes|', ''), write, read] });
    assert.match(exchange.run, /broker's user may not do this .*'changes'.*Grant it `configure` and `write`/);
    const queue = await refused({ granted: [configure.replace('orders|', ''), write, read] });
    assert.match(queue.run, /may not do this .*'orders'/);
    // To bind a queue takes `write` on it, and `read` on the exchange.
    const bound = await refused({ granted: [configure, write.replace('|orders', ''), read] });
    assert.match(bound.run, /may not do this .*'orders'/);
    const binding = await refused({ granted: [configure, write, '^$'] });
    assert.match(binding.run, /may not do this .*'changes'.*`read` on the exchange/);
    assert.match(exchange.check, /FAULT +.*exchange changes: the broker does not let this user declare it/);
    assert.match(queue.check, /FAULT +.*queue orders: the broker does not let this user declare it/);
    for (const { check } of [bound, binding]) {
      assert.match(
        check,
        /FAULT +.*the user may not bind queue orders: grant it `write` on them, and `read` on changes/,
      );
    }
    const to = { exchange: 'unmade', queues: [{ name: 'unmade' }] };
    await using unmade = await setUp({ granted: ['^$', '.*', '.*'], to });
    const { stdout } = await unmade.command('check');
    assert.match(
      stdout,
      /FAULT +.*exchange unmade: the broker does not let this user declare it: grant it `configure`/,
    );
    assert.match(stdout, /FAULT +.*queue unmade: the broker does not let this user declare it/);

    const unlocked = await delivers({ granted: [configure.replace(/\|tailrace.*\*/, ''), write, read] });
    assert.ok(
      unlocked.some((line) => /lock cannot be declared.*Grant/.test(line)),
      unlocked.join('\n'),
    );

    await using place = await setUp({ granted: [permissions[1]![0], '^$', '^$'], declare: false });
    const engine = place.start();
    await until('it is ready', async () => (await engine.ready()).ok);
    await root.db('shop').collection('orders').insertOne({});
    await until('it says what it may not', async () =>
      (await engine.ready()).reasons.some((reason) => /held, refused: .*ACCESS_REFUSED.*'changes'/.test(reason)),
    );
    await rabbit.ctl(['set_permissions', '-p', '/', 'tailrace', ...permissions[1]!]);
    await until('it is delivered', async () => (await countMessages(rabbit.uri, 'orders')) === 1);
  });
});
