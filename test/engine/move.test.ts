/** A subscription is moved to another position while the others of its source go on. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiUnderTest } from '../api/fixtures.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog, historyOf } from '../harness/history.ts';
import { readDry } from '../harness/queue-reader.ts';
import { untilDelivered } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const DB = 'move';
const TOKEN = 'a-token-of-tests-1234567890';

interface Moved {
  readonly dryRun: boolean;
  readonly from: { readonly position: string } | null;
  readonly to: { readonly position: string };
  readonly seconds: number | null;
  readonly effect: string;
}

describe('moving a subscription', () => {
  const servers = useSharedServers();
  let place: EngineFolder;
  let engine: EngineProcess;
  let api: ApiUnderTest;

  before(async () => {
    place = await EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri, start: await endOfOplog(servers.client) } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: ['moved', 'steady'].map((name) => ({
        name,
        namespaces: [`${DB}.*`],
        to: { queue: `${DB}-${name}` },
      })),
      pipeline: { partitions: 2 },
      http: { listen: '127.0.0.1:0', token: TOKEN },
    });
    await start();
  });
  after(async () => place?.[Symbol.asyncDispose]());

  async function start(): Promise<void> {
    engine = place.start();
    api = await ApiUnderTest.of(engine, TOKEN);
    await until('it reads', async () => {
      const { subscriptions } = await api.good<{ subscriptions: { status: { state: string } }[] }>('/subscriptions');
      return subscriptions.every(({ status }) => ['flowing', 'paused'].includes(status.state));
    });
  }
  const PATH = '/subscriptions/{name}/move';
  const move = async (body: object): Promise<Moved> => api.good(PATH, '/subscriptions/moved/move', 'post', body);
  const write = async (...ids: number[]): Promise<void> => {
    const documents = servers.client.db(DB).collection<{ _id: number }>('c');
    await documents.insertMany(ids.map((_id) => ({ _id })));
    await untilDelivered(engine, await historyOf(servers.client, DB));
  };
  /** What came after it begins there. */
  const behind = (position: string): string => position.replace(/\d+$/, (increment) => String(Number(increment) + 1));
  const taken = async (name: string): Promise<string[]> => readDry(servers.rabbit.uri, `${DB}-${name}`);
  const gaps = async (): Promise<readonly { subscription: string; reason: string; from: string; to: string }[]> =>
    (await api.good<{ gaps: { subscription: string; reason: string; from: string; to: string }[] }>('/checkpoint'))
      .gaps;

  test('backwards it repeats, for itself alone, exactly what was written since; a trial changes nothing', async () => {
    await write(1, 2);
    const from = await endOfOplog(servers.client);
    await write(3, 4, 5);
    const all = (await historyOf(servers.client, DB)).map(({ id }) => id);
    assert.deepEqual([await taken('moved'), await taken('steady')], [all, all]);

    const trial = await move({ position: from, dryRun: true });
    assert.deepEqual([trial.dryRun, trial.effect, trial.to.position], [true, 'repeated', behind(from)]);
    assert.ok(trial.from !== null && trial.seconds !== null && trial.seconds <= 0);
    const done = await move({ position: from });
    assert.deepEqual([done.dryRun, done.effect], [false, 'repeated']);
    await write(6);
    const [sixth] = (await historyOf(servers.client, DB)).slice(-1).map(({ id }) => id);
    assert.deepEqual(await taken('moved'), [...all.slice(2), sixth]);
    assert.deepEqual(await taken('steady'), [sixth]);
    assert.deepEqual(await gaps(), []);
  });

  test('forwards it skips, and a gap record says so; a paused one stays paused, over a restart too', async () => {
    assert.equal((await api.ask('/subscriptions/moved/pause', { method: 'POST' })).status, 200);
    const documents = servers.client.db(DB).collection<{ _id: number }>('c');
    await documents.insertMany([{ _id: 10 }, { _id: 11 }]);
    const to = await endOfOplog(servers.client);
    const done = await move({ position: to });
    assert.deepEqual([done.effect, done.to.position], ['skipped', behind(to)]);
    const [gap] = await gaps();
    assert.deepEqual(
      [gap?.subscription, gap?.reason, gap?.from, gap?.to],
      ['moved', 'skipped', done.from?.position, behind(to)],
    );
    assert.equal((await engine.status()).subscriptions['moved']?.state, 'paused');
    await engine.kill();
    await start();
    assert.equal((await engine.status()).subscriptions['moved']?.state, 'paused');
    await documents.insertOne({ _id: 12 });
    assert.equal((await api.ask('/subscriptions/moved/resume', { method: 'POST' })).status, 200);
    const all = (await historyOf(servers.client, DB)).map(({ id }) => id);
    await untilDelivered(engine, await historyOf(servers.client, DB));
    assert.deepEqual(await taken('moved'), all.slice(-1));
    assert.deepEqual(await taken('steady'), all.slice(-3));
  });

  test('to now, of one that has everything, it neither skips nor repeats', async () => {
    await write(20);
    await taken('moved');
    const { effect } = await move({ position: 'latest' });
    assert.notEqual(effect, 'repeated');
    await write(21);
    assert.deepEqual(
      await taken('moved'),
      (await historyOf(servers.client, DB)).slice(-1).map(({ id }) => id),
    );
  });

  test('what cannot be is refused, and it reads on where it stood', async () => {
    const path = '/subscriptions/moved/move';
    const post = async (body: unknown, at = path, headers = {}) => api.ask(at, { method: 'POST', body, headers });
    const good = { position: 'latest' };
    api.assertProblem(PATH, await post(good, '/subscriptions/nobody/move'), 'api-not-found');
    api.assertProblem(PATH, await post(good, path, { Authorization: '' }), 'api-unauthorized');
    api.assertProblem(PATH, await post(good, path, { Origin: 'https://elsewhere.example' }), 'api-cross-site');
    for (const body of [undefined, {}, { position: 'yesterday' }, { position: 5 }, { ...good, more: 1 }]) {
      api.assertProblem(PATH, await post(body), 'api-bad-request');
    }
    for (const position of ['2099-01-01', '1000000000:1']) {
      const refused = await post({ position });
      api.assertProblem(PATH, refused, 'api-conflict');
      assert.match(JSON.stringify(refused.body), /in the future|not in the oplog/);
    }
    const both = await Promise.all([post(good), post(good)]);
    assert.deepEqual(
      both.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 409],
    );
    await write(30);
    assert.deepEqual(
      await taken('moved'),
      (await historyOf(servers.client, DB)).slice(-1).map(({ id }) => id),
    );
    assert.equal(await engine.terminate(), 0);
  });
});
