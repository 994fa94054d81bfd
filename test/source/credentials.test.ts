import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { UserError } from '../../src/errors.ts';
import { mongodBinary } from '../servers/mongod-binary.ts';
import { giveBack, insert, numbersIn, sourceOver, until } from './harness.ts';

const never = new AbortController().signal;
const PASSWORD = 'p@ss:w/rd';

describe('a server that asks for credentials', () => {
  let mongod: MongoMemoryReplSet;
  let root: MongoClient;

  const uriOf = (user: string, password = PASSWORD): string => {
    const hosts = mongod.servers.map((server) => `127.0.0.1:${server.instanceInfo?.port}`).join(',');
    return `mongodb://${user}:${encodeURIComponent(password)}@${hosts}/?replicaSet=rs0&authSource=users`;
  };

  before(async () => {
    const auth = { enable: true, customRootName: 'root', customRootPwd: PASSWORD };
    const binary = await mongodBinary();
    mongod = await MongoMemoryReplSet.create({
      binary,
      replSet: { name: 'rs0', count: 1, storageEngine: 'wiredTiger', auth },
    });
    root = await new MongoClient(uriOf('root').replace('authSource=users', 'authSource=admin')).connect();
    await root.db('admin').command({
      createRole: 'identity',
      privileges: [{ resource: { db: 'local', collection: 'system.replset' }, actions: ['find'] }],
      roles: [{ role: 'read', db: 'local' }],
    });
    const users = root.db('users');
    await users.command({ createUser: 'nobody', pwd: PASSWORD, roles: [] });
    await users.command({ createUser: 'reader', pwd: PASSWORD, roles: [{ role: 'read', db: 'local' }] });
    const ofShop = ['local', 'shop'].map((db) => ({ role: 'read', db }));
    await users.command({ createUser: 'ofShop', pwd: PASSWORD, roles: ofShop });
    for (const db of ['shop', 'other']) {
      await root.db(db).createCollection('names', { collation: { locale: 'de', strength: 2 } });
    }
    await users.command({ createUser: 'full', pwd: PASSWORD, roles: [{ role: 'identity', db: 'admin' }] });
  });
  after(async () => {
    await root?.close();
    await mongod?.stop();
  });

  test('refuses a wrong password at a first start, in words without the password', async (t) => {
    const { source, lines } = sourceOver(t, uriOf('reader', 'wr@ng'));
    const error: unknown = await source.connect(never).catch((refused: unknown) => refused);
    assert.equal(error instanceof UserError && error.code, 'credentials-refused');
    assert.equal(/wr@ng|wr%40ng/.test(String(error) + JSON.stringify(lines)), false);
  });

  test('refuses a user who may not read the oplog, and says what to grant', async (t) => {
    const { source } = sourceOver(t, uriOf('nobody'));
    const error: unknown = await source.connect(never).catch((refused: unknown) => refused);
    assert.equal(error instanceof UserError && error.code, 'rights-missing');
    assert.match(
      String(error),
      /not authorized on local to execute command find\)\. Grant .*role: "read", db: "local"/,
    );
  });

  test('is read with the role read on local alone; the set is then known by its name, with one warning', async (t) => {
    const over = sourceOver(t, uriOf('reader'));
    const identity = await over.source.connect(never);
    assert.equal(identity.replicaSetId, 'name:rs0');
    assert.equal(over.lines.filter(({ level }) => level === 'warn').length, 1);
    const point = await over.source.resolve({ kind: 'latest' }, never);
    await insert(root, 'a.auth', [1, 2, 3]);
    const numbers: number[] = [];
    for await (const batch of over.source.read(point, never)) {
      numbers.push(...numbersIn(batch, 'a.auth'));
      giveBack(over.budget, batch);
      if (numbers.length === 3) break;
    }
    assert.deepEqual(numbers, [1, 2, 3]);
    assert.deepEqual(await over.source.collatedNamespaces(() => true, never), []);
  });

  test('is asked for collations in the databases that the user may look into, and a warning tells of the others', async (t) => {
    const over = sourceOver(t, uriOf('ofShop'));
    await over.source.connect(never);
    assert.deepEqual(await over.source.collatedNamespaces(() => true, never), ['shop.names']);
    const warned = over.lines
      .map(({ fields }) => fields as Record<string, unknown>)
      .filter(({ code }) => code === 'collation-unknown');
    assert.deepEqual(
      warned.map(({ databases }) => databases),
      [['*']],
    );
  });

  test('tells the set by its id where system.replset may be read', async (t) => {
    const over = sourceOver(t, uriOf('full'));
    assert.match((await over.source.connect(never)).replicaSetId, /^[0-9a-f]{24}$/);
    assert.deepEqual(
      over.lines.filter(({ level }) => level === 'warn'),
      [],
    );
  });

  test('is read on once a user who was dropped while it was read is there again', async (t) => {
    const users = root.db('users');
    const create = { createUser: 'reborn', pwd: PASSWORD, roles: [{ role: 'read', db: 'local' }] };
    await users.command(create);
    const over = sourceOver(t, uriOf('reborn'));
    const stop = new AbortController();
    t.after(() => stop.abort());
    const { source, budget } = over;
    await source.connect(stop.signal);
    const point = await source.resolve({ kind: 'latest' }, stop.signal);
    const numbers: number[] = [];
    const reading = (async () => {
      for await (const batch of source.read(point, stop.signal)) {
        numbers.push(...numbersIn(batch, 'a.reborn'));
        giveBack(budget, batch);
      }
    })();
    await insert(root, 'a.reborn', [1]);
    await until(() => numbers.length === 1);
    await users.command({ dropUser: 'reborn' });
    await until(() => source.state === 'reconnecting');
    assert.match(source.downFor ?? '', /auth/i);
    await insert(root, 'a.reborn', [2]);
    await users.command(create);
    await until(() => numbers.length === 2);
    assert.equal(source.downFor, undefined);
    stop.abort();
    await reading;
    assert.deepEqual(numbers, [1, 2]);
  });
});

test('a URI that cannot be understood is refused without being repeated', async (t) => {
  for (const uri of [
    'mongodb://u:s3cret@',
    'mongodb://u:s3@cret@h/',
    'http://u:s3cret@h/',
    'mongodb://u:s3cret@h/?nope=1',
  ]) {
    const { source } = sourceOver(t, uri);
    const error: unknown = await source.connect(never).catch((refused: unknown) => refused);
    assert.equal(error instanceof UserError && error.code, 'config-invalid', String(error));
    assert.equal(/s3|cret/.test(String(error)), false);
  }
});
