import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

describe('what only the user can mend ends a start with exit code 2 and the reason', () => {
  let mongo: Shared;
  let rabbit: Shared;

  before(async () => {
    [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
  });

  after(async () => {
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  interface Setup {
    readonly mongoUri?: string;
    readonly start?: string;
    readonly dataFolder?: string;
    readonly sink?: object;
    readonly namespaces?: readonly string[];
    readonly to: object;
  }

  /** Why the engine has ended with 2; nothing else that it wrote may hold a secret. */
  async function refusal({
    mongoUri = mongo.uri,
    start = 'latest',
    dataFolder,
    sink = {},
    namespaces = ['refused.*'],
    to,
  }: Setup): Promise<string> {
    await using place = await EngineFolder.create({
      sources: { src: { uri: mongoUri, start } },
      sinks: { mq: { uri: rabbit.uri, ...sink } },
      subscriptions: [{ name: 'all', namespaces, to }],
      ...(dataFolder !== undefined && { checkpoint: { path: dataFolder } }),
    });
    const engine = place.start();
    assert.equal(await engine.ended(), 2, engine.log());
    assert.doesNotMatch(engine.log(), /open-sesame/);
    const { code, msg } = engine.fatal();
    return `${code}: ${msg}`;
  }

  test('a time-series collection that a subscription names', async () => {
    const client = await MongoClient.connect(mongo.uri);
    try {
      await client.db('refused').createCollection('measured', { timeseries: { timeField: 'at' } });
      const said = await refusal({ namespaces: ['other.*', 'refused.measured'], to: { queue: 'refused' } });
      assert.match(said, /^time-series: .*subscription "all": refused\.measured is a time-series collection\./);
    } finally {
      await client.db('refused').dropDatabase();
      await client.close();
    }
  });

  const withPassword = (uri: string): string => uri.replace('://', '://somebody:open-sesame@');

  test('a queue that is not there, with `declare: false`', async () => {
    const said = await refusal({ sink: { declare: false }, to: { queue: 'refused-missing' } });
    assert.match(said, /subscription "all": the broker does not have .*refused-missing/);
  });

  test('an exchange that is not there, with `declare: false`', async () => {
    const said = await refusal({ sink: { declare: false }, to: { exchange: 'refused-missing' } });
    assert.match(said, /subscription "all": the broker does not have .*refused-missing/);
  });

  test('a queue that is there with other arguments', async () => {
    const connection = await connect(rabbit.uri);
    const channel = await connection.createChannel();
    await channel.assertQueue('refused-other', { durable: true, arguments: { 'x-max-length': 7 } });
    try {
      const said = await refusal({ to: { queue: 'refused-other' } });
      assert.match(said, /subscription "all": .* other properties .*x-max-length/);
    } finally {
      await channel.deleteQueue('refused-other');
      await connection.close();
    }
  });

  test('a password that the broker refuses, without showing it', async () => {
    const said = await refusal({ sink: { uri: withPassword(rabbit.uri) }, to: { queue: 'refused' } });
    assert.match(said, /sink "mq": RabbitMQ refused the user or password/);
    assert.doesNotMatch(said, /open-sesame/);
  });

  test('a password that the replica set refuses, without showing it', async () => {
    const said = await refusal({ mongoUri: withPassword(mongo.uri), to: { queue: 'refused' } });
    assert.match(said, /source "src"/);
    assert.doesNotMatch(said, /open-sesame/);
  });

  test('a virtual host that is not there', async () => {
    const said = await refusal({ sink: { uri: `${rabbit.uri}/nowhere` }, to: { queue: 'refused' } });
    assert.match(said, /sink "mq": RabbitMQ does not let this user into the virtual host/);
  });

  test('a start in the future, which would pass over everything until then', async () => {
    const said = await refusal({ start: '2100-01-01', to: { queue: 'refused' } });
    assert.match(said, /`start: 2100-01-01` lies in the future/);
  });

  test('a port that is in use, and leaves no folder behind that was not there', async (t) => {
    const taken = createServer().listen(0, '127.0.0.1');
    t.after(() => taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    for (const isThere of [false, true]) {
      await using place = await EngineFolder.create({
        sources: { src: { uri: mongo.uri } },
        sinks: { mq: { uri: rabbit.uri } },
        subscriptions: [{ name: 'all', namespaces: ['refused.*'], to: { queue: 'refused' } }],
        http: { listen: `127.0.0.1:${port}` },
        checkpoint: { path: './var/data' },
      });
      if (isThere) await mkdir(join(place.folder, 'var'));
      const engine = place.start();
      assert.equal(await engine.ended(), 2, engine.log());
      assert.equal(engine.fatal().code, 'port-in-use');
      const left = await readdir(place.folder);
      assert.deepEqual(left.toSorted(), ['run-1.log', 'tailrace.yaml', ...(isThere ? ['var'] : [])]);
      if (isThere) assert.deepEqual(await readdir(join(place.folder, 'var')), []);
    }
  });

  test('a start that comes to nothing at the source has declared nothing at the broker', async () => {
    await refusal({ start: '2100-01-01', to: { exchange: 'refused-early', queues: [{ name: 'refused-early' }] } });
    const connection = await connect(rabbit.uri);
    try {
      const channel = await connection.createChannel();
      channel.on('error', () => {});
      await assert.rejects(channel.checkExchange('refused-early'), /NOT_FOUND/);
    } finally {
      await connection.close();
    }
  });

  test('what `tail` cannot begin at is told in words of its own: it has no `start` and no policy', async () => {
    await using place = await EngineFolder.create({});
    const past = await place.command('tail', mongo.uri, '--from', '2020-01-01');
    assert.equal(past.code, 3, past.stderr);
    assert.match(past.stderr, /is not in the oplog any more: .*Go on with --from earliest \(\d+:\d+ /);
    const future = await place.command('tail', mongo.uri, '--from', '2100-01-01');
    assert.equal(future.code, 2, future.stderr);
    assert.match(future.stderr, /^tailrace: --from 2100-01-01: that lies behind the newest entry/m);
    assert.doesNotMatch(past.stderr + future.stderr, /onPositionLost|`start/);
  });

  test('a data folder that cannot be one', async () => {
    const said = await refusal({ dataFolder: './tailrace.yaml', to: { queue: 'refused' } });
    assert.match(said, /the data folder cannot be used \(.*EEXIST/);
  });

  test('a subscription that was renamed is warned of, as its old checkpoint is left behind', async () => {
    const config = (name: string): object => ({
      sources: { src: { uri: mongo.uri } },
      sinks: { mq: { uri: rabbit.uri } },
      subscriptions: [{ name, namespaces: ['refused.*'], to: { queue: 'refused-renamed' } }],
    });
    await using place = await EngineFolder.create(config('before'));
    for (const [name, warned] of [
      ['before', false],
      ['after', true],
    ] as const) {
      await place.configure(config(name));
      const engine = place.start();
      await until('it is ready', async () => (await engine.ready()).ok);
      assert.equal(await engine.terminate(), 0);
      assert.equal(engine.log().includes('Was one renamed?'), warned);
    }
  });
});
