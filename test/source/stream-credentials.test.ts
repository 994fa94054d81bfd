import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { tailConfig } from '../../src/config/tail-config.ts';
import { checkSource } from '../../src/check/check-source.ts';
import { Findings } from '../../src/check/findings.ts';
import { UserError } from '../../src/errors.ts';
import { mongodBinary } from '../servers/mongod-binary.ts';
import { insert } from './harness.ts';
import { readEvents, streamOver } from './stream-harness.ts';

const patience = AbortSignal.timeout(120_000);
const PASSWORD = 'p@ss:w/rd';

describe('a user who may read one database and nothing else', () => {
  let mongod: MongoMemoryReplSet;
  let root: MongoClient;

  const uriOf = (user: string, source: string): string => {
    const hosts = mongod.servers.map((server) => `127.0.0.1:${server.instanceInfo?.port}`).join(',');
    return `mongodb://${user}:${encodeURIComponent(PASSWORD)}@${hosts}/?replicaSet=rs0&authSource=${source}`;
  };

  before(async () => {
    const auth = { enable: true, customRootName: 'root', customRootPwd: PASSWORD };
    mongod = await MongoMemoryReplSet.create({
      binary: await mongodBinary(),
      replSet: { name: 'rs0', count: 1, storageEngine: 'wiredTiger', auth },
    });
    root = await new MongoClient(uriOf('root', 'admin')).connect();
    await root.db('users').command({ createUser: 'reader', pwd: PASSWORD, roles: [{ role: 'read', db: 'shop' }] });
  });
  after(async () => {
    await root?.close();
    await mongod?.stop();
  });

  test('reads its change stream, and goes on from where he was', async (t) => {
    const over = streamOver(t, uriOf('reader', 'users'), { watch: 'shop' });
    const identity = await over.source.connect(patience);
    assert.equal(identity.replicaSetId, 'name:rs0');
    const point = await over.source.resolve({ kind: 'latest' }, patience);
    await insert(root, 'other.secret', [0]);
    await insert(root, 'shop.orders', [1, 2]);
    const { events, at } = await readEvents(over, point, (all) => all.length >= 2);
    assert.deepEqual(
      events.map((event) => event['fullDocument'].n),
      [1, 2],
    );
    await insert(root, 'shop.orders', [3]);
    await over.source.verify(at, patience);
    const more = await readEvents(over, at, (all) => all.length >= 1);
    assert.equal(more.events[0]?.['fullDocument'].n, 3);
    // How far the server is may be known by anyone; how far back its oplog reaches may not.
    assert.equal(over.source.window?.oldest, undefined);
    assert.deepEqual(await over.source.collatedNamespaces(() => true, patience), []);
    const said = over.lines.filter(({ level }) => level === 'warn' || level === 'error');
    assert.equal(said.length, 1);
    assert.match(String(said[0]?.message), /told apart by its name only/);
  });

  test('is refused the whole deployment, and told what to do', async (t) => {
    const over = streamOver(t, uriOf('reader', 'users'));
    const error: unknown = await over.source.connect(patience).catch((refused: unknown) => refused);
    assert.ok(error instanceof UserError, String(error));
    assert.equal(error.code, 'rights-missing');
    assert.match(error.message, /readAnyDatabase.*changeStream\.watch/);
  });

  test('is told the same by the check', async () => {
    for (const [watch, expected] of [
      ['shop', /the change stream of shop can be read/],
      ['deployment', /may not watch deployment: grant it the role `readAnyDatabase`/],
    ] as const) {
      let said = '';
      const findings = new Findings((text) => void (said += text));
      const uri = uriOf('reader', 'users');
      const config = tailConfig({ uri, namespaces: [], from: 'latest', format: 'json', mode: 'changeStream', watch });
      await checkSource(config.sources[0]!, { config, stored: new Map() }, findings);
      assert.match(said, expected);
    }
  });
});
