/** Definitions are tried between real servers before anybody saves them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { onBroker } from '../harness/on-broker.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { ApiUnderTest } from './fixtures.ts';

const TOKEN = 'a-token-of-tests-1234567890';
const DB = 'trials';

interface Found {
  readonly ok: boolean;
  readonly findings: readonly { readonly kind: string; readonly text: string }[];
}
interface Previewed {
  readonly from: string;
  readonly to: string;
  readonly entries: number;
  readonly whole: boolean;
  readonly counts: readonly { readonly ns: string; readonly operation: string; readonly events: number }[];
  readonly parked: readonly { readonly reason: string; readonly detail: string; readonly events: number }[];
  readonly samples: readonly {
    readonly routingKey: string;
    readonly type: string;
    readonly messageId: string;
    readonly contentType: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
    readonly encoding: string;
    readonly events: number;
    readonly truncated: boolean;
  }[];
}

describe('definitions that are tried', () => {
  const servers = useSharedServers();
  let place: EngineFolder;
  let engine: EngineProcess;
  let api: ApiUnderTest;
  /** As in the file, without its name. */
  const real = {
    source: 'src',
    namespaces: [`${DB}.*`, `!${DB}.left`],
    where: { field: 'fullDocument.n', lt: 1_000 },
    whenUnknown: 'skip',
    mask: [{ fields: ['ssn'], with: 'gone' }],
    headers: { of: '{coll}' },
    to: { exchange: DB, queues: [{ name: `${DB}-real`, bind: '#' }] },
  };

  before(async () => {
    process.env['TRIALS_MONGODB'] = servers.mongo.uri;
    place = await EngineFolder.create({
      sources: {
        src: { uri: '${TRIALS_MONGODB}' },
        test: { uri: servers.mongo.uri },
        stream: { uri: servers.mongo.uri, mode: 'changeStream', changeStream: { watch: DB } },
        away: { uri: 'mongodb://127.0.0.1:1/?replicaSet=rs' },
      },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [{ name: 'real', ...real }],
      pipeline: { partitions: 2 },
      http: { listen: '127.0.0.1:0', token: TOKEN },
    });
    engine = place.start();
    api = await ApiUnderTest.of(engine, TOKEN);
    await until('it reads', async () => {
      const { subscriptions } = await api.good<{ subscriptions: { status: { state: string } }[] }>('/subscriptions');
      return subscriptions.every(({ status }) => status.state === 'flowing');
    });
    const db = servers.client.db(DB);
    const documents = (from: number): { _id: number; n: number; ssn: string }[] =>
      Array.from({ length: 10 }, (_, i) => ({ _id: from + i, n: from + i, ssn: 'PRIVATE' }));
    await db.collection<{ _id: number }>('a').insertMany(documents(0));
    await db.collection<{ _id: number }>('b').insertMany(documents(995));
    await db.collection<{ _id: number }>('left').insertMany(documents(0));
    await until('what matches has come', async () => (await countMessages(servers.rabbit.uri, `${DB}-real`)) === 15);
  });
  after(async () => place?.[Symbol.asyncDispose]());

  const testSource = async (body: object): Promise<Found> => api.good('/sources/test', '/sources/test', 'post', body);
  const testSink = async (body: object): Promise<Found> => api.good('/sinks/test', '/sinks/test', 'post', body);
  const previewed = async (subscription: object, rest: object = {}): Promise<Previewed> =>
    api.good('/subscriptions/preview', '/subscriptions/preview', 'post', { subscription, ...rest });
  const texts = ({ findings }: Found): string => findings.map(({ kind, text }) => `${kind}: ${text}`).join('\n');

  test('a source says what `check` says: new, or one that there is, with its subscriptions', async () => {
    const fresh = await testSource({ configuration: { uri: servers.mongo.uri } });
    assert.ok(fresh.ok, texts(fresh));
    assert.match(texts(fresh), /^ok: replica set rs0/m);
    assert.match(texts(fresh), /^ok: the oplog can be read with read concern majority/m);
    assert.doesNotMatch(texts(fresh), /subscription/);
    const known = await testSource({ configuration: { uri: '${TRIALS_MONGODB}' }, name: 'src' });
    assert.match(texts(known), /subscription real matches \d+ of \d+ collections/);
    assert.match(texts(known), /subscription real goes on at its checkpoint/);
    // One may be called like the path.
    assert.equal((await api.good<{ name: string }>('/sources/{name}', '/sources/test', 'get')).name, 'test');
    assert.equal((await api.ask('/sources/test', { method: 'PATCH' })).status, 405);
  });

  test('a sink says what `check` says: new, or one that there is, with what is published to it', async () => {
    const fresh = await testSink({ configuration: { uri: servers.rabbit.uri } });
    assert.ok(fresh.ok, texts(fresh));
    assert.match(texts(fresh), /^ok: connected to RabbitMQ/m);
    const known = await testSink({ configuration: { uri: servers.rabbit.uri, declare: false }, name: 'mq' });
    assert.match(texts(known), new RegExp(`^ok: subscription real: exchange ${DB}: there`, 'm'));
    assert.match(texts(known), new RegExp(`^ok: subscription real: queue ${DB}-real: there`, 'm'));
  });

  test('what cannot be reached, or refuses, is a finding in time, without secrets', async (t) => {
    const started = performance.now();
    const away = await testSource({ configuration: { uri: 'mongodb://me:S3CRET-away@127.0.0.1:1/?replicaSet=rs' } });
    t.diagnostic(`${Math.round(performance.now() - started)} ms`);
    assert.equal(away.ok, false);
    assert.match(texts(away), /^fault: /m);
    const { host } = new URL(servers.rabbit.uri);
    const refused = await testSink({ configuration: { uri: `amqp://nobody:S3CRET-wrong@${host}` } });
    assert.equal(refused.ok, false);
    assert.match(texts(refused), /^fault: .*(?:refuse|credentials)/m);
    const silent = await testSink({ configuration: { uri: 'amqp://x:S3CRET-none@127.0.0.1:1' } });
    assert.match(texts(silent), /ECONNREFUSED/);
    assert.doesNotMatch(JSON.stringify([away, refused, silent]) + engine.log(), /S3CRET/);
  });

  test('a preview counts what would match, and shows messages as they are sent', async () => {
    const seen = await previewed(real, { samples: 20, name: 'real' });
    assert.ok(seen.whole && seen.entries >= 30);
    assert.deepEqual(seen.counts, [
      { ns: `${DB}.a`, operation: 'insert', events: 10 },
      { ns: `${DB}.b`, operation: 'insert', events: 5 },
    ]);
    assert.deepEqual(seen.parked, []);
    assert.equal(seen.samples.length, 15);
    assert.doesNotMatch(JSON.stringify(seen), /PRIVATE/);
    const sent = await onBroker(servers.rabbit.uri, async (channel) => {
      const all: { messageId: unknown; headers: object }[] = [];
      for (;;) {
        const message = await channel.get(`${DB}-real`, { noAck: true });
        if (message === false) return all;
        const { properties, fields, content } = message;
        const { type, messageId, contentType, headers } = properties;
        const body = content.toString();
        all.push({
          routingKey: fields.routingKey,
          type,
          messageId,
          contentType,
          headers: { ...headers },
          body,
        } as never);
      }
    });
    const byId = (a: { messageId?: unknown }, b: { messageId?: unknown }): number =>
      String(a.messageId) < String(b.messageId) ? -1 : 1;
    assert.deepEqual(
      seen.samples
        .map(({ routingKey, type, messageId, contentType, headers, body }) => ({
          routingKey,
          type,
          messageId,
          contentType,
          headers,
          body,
        }))
        .toSorted(byId),
      sent.toSorted(byId),
    );
  });

  test('a preview tells what would be parked, and shows batches and other formats; nothing is sent', async () => {
    const to = { queue: `${DB}-never-{fullDocument.absent}` };
    const lacking = await previewed({ source: 'src', namespaces: [`${DB}.a`], to });
    assert.deepEqual(
      lacking.parked.map(({ reason, events }) => ({ reason, events })),
      [{ reason: 'missing-field', events: 10 }],
    );
    assert.deepEqual([lacking.counts[0]?.events, lacking.samples], [10, []]);
    const many = { source: 'src', namespaces: [`${DB}.a`], batch: { maxEvents: 100 }, to: { exchange: `${DB}-never` } };
    const batches = await previewed(many, { samples: 1, minutes: 1 });
    const [batch] = batches.samples;
    assert.equal(batch?.type, 'batch');
    assert.equal(batch.contentType, 'application/x-ndjson');
    assert.ok(batch.events > 1 && batch.body.trim().split('\n').length === batch.events);
    const bson = await previewed({ ...many, batch: {}, format: 'bson' }, { samples: 2 });
    assert.deepEqual(
      bson.samples.map(({ encoding }) => encoding),
      ['base64', 'base64'],
    );
    await onBroker(servers.rabbit.uri, async (channel) => {
      channel.on('error', () => undefined);
      await assert.rejects(channel.checkExchange(`${DB}-never`), /NOT_FOUND/);
    });
    assert.deepEqual((await previewed(real, { samples: 0, name: 'real' })).samples, []);
  });

  test('a preview reads a change stream as well, and says where a source cannot be reached', async () => {
    const to = { queue: `${DB}-never` };
    const stream = await previewed({ source: 'stream', namespaces: [`${DB}.*`], to }, { minutes: 60 });
    assert.deepEqual(
      stream.counts.map(({ ns, events }) => `${ns} ${events}`).toSorted(),
      ['a', 'b', 'left'].map((name) => `${DB}.${name} 10`),
    );
    assert.equal(stream.samples.length, 5);
    const body = { subscription: { source: 'away', namespaces: ['a.b'], to } };
    const away = await api.ask('/subscriptions/preview', { method: 'POST', body });
    api.assertProblem('/subscriptions/preview', away, 'api-conflict', 'post');
    assert.match(JSON.stringify(away.body), /cannot be read now/);
  });

  test('where more was written than a preview reads, it shows the newest', async () => {
    const heavy = servers.client.db(`${DB}-heavy`).collection('x');
    const filler = 'x'.repeat(2 ** 20);
    for (let n = 0; n < 150; n += 10) await heavy.insertMany(Array.from({ length: 10 }, () => ({ filler })));
    // Positions count in seconds.
    await sleep(2_000);
    await servers.client
      .db(DB)
      .collection('newest')
      .insertMany([{ n: 1 }, { n: 2 }]);
    const to = { queue: `${DB}-never` };
    const seen = await previewed({ source: 'src', namespaces: [`${DB}.newest`], to });
    assert.ok(seen.whole, `${seen.from} to ${seen.to}, ${seen.entries} entries`);
    assert.deepEqual([seen.counts[0]?.events, seen.samples.length], [2, 2]);
  });

  test('bad calls are refused, each with the path of what is wrong', async () => {
    const faultOf = async (path: string, body: unknown): Promise<string | undefined> => {
      const refused = await api.ask(path, { method: 'POST', body });
      api.assertProblem(path, refused, 'api-bad-request', 'post');
      return (refused.body as { faults: { path: string }[] }).faults[0]?.path;
    };
    for (const [path, body, fault] of [
      ['/sources/test', {}, 'body.configuration'],
      ['/sources/test', { configuration: { uri: 5 } }, 'body.configuration.uri'],
      ['/sources/test', { configuration: { uri: servers.mongo.uri, mode: 'none' } }, 'body.configuration.mode'],
      ['/sources/test', { configuration: { uri: '${HOME}' } }, 'body.configuration.uri'],
      ['/sinks/test', { configuration: { uri: 'amqp://${file:/etc/hostname}@x' } }, 'body.configuration.uri'],
      ['/sinks/test', { configuration: { uri: '${TRIALS_MONGODB}' } }, 'body.configuration.uri'],
      ['/sinks/test', { configuration: { uri: servers.rabbit.uri, window: 0 } }, 'body.configuration.window'],
      ['/subscriptions/preview', { subscription: { source: 'src' } }, 'body.subscription.namespaces'],
      ['/subscriptions/preview', { subscription: { ...real, source: 'none' } }, 'body.subscription.source'],
      [
        '/subscriptions/preview',
        { subscription: { ...real, headers: { of: '${HOME}' } } },
        'body.subscription.headers.of',
      ],
      ['/subscriptions/preview', { subscription: real, name: 'real', minutes: 0 }, 'body.minutes'],
      ['/subscriptions/preview', { subscription: real, name: 'real', samples: 21 }, 'body.samples'],
    ] as const) {
      assert.equal(await faultOf(path, body), fault, JSON.stringify(body));
    }
  });

  test('only who may can try, one of a kind at a time', async () => {
    for (const [path, body] of [
      ['/sources/test', { configuration: { uri: servers.mongo.uri } }],
      ['/sinks/test', { configuration: { uri: servers.rabbit.uri } }],
      ['/subscriptions/preview', { subscription: real, name: 'real' }],
    ] as const) {
      const post = async (headers = {}) => api.ask(path, { method: 'POST', body, headers });
      api.assertProblem(path, await post({ Authorization: '' }), 'api-unauthorized', 'post');
      api.assertProblem(path, await post({ Origin: 'https://elsewhere.example' }), 'api-cross-site', 'post');
      const both = await Promise.all([post(), post()]);
      assert.deepEqual(
        both.map(({ status }) => status).toSorted((a, b) => a - b),
        [200, 409],
        path,
      );
      api.assertProblem(
        path,
        both.find(({ status }) => status === 409)!,
        'api-conflict',
        'post',
      );
    }
  });
});
