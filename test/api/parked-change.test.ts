/** Parked events are replayed and dropped while their engine goes on. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { historyOf } from '../harness/history.ts';
import { onBroker } from '../harness/on-broker.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { ApiUnderTest } from './fixtures.ts';

const TOKEN = 'a-token-of-tests-1234567890';
const DB = 'parked-change';
const MANY = 1_500;

interface Count {
  readonly subscription: string;
  readonly reason: string;
  readonly events: number;
}
interface Replayed {
  readonly dryRun: boolean;
  readonly replayed: number;
  readonly kept: readonly Count[];
  readonly next: string | null;
}
interface Dropped {
  readonly dropped: number;
  readonly counts: readonly Count[];
  readonly next: string | null;
}

describe('parked events over the API', () => {
  const servers = useSharedServers();
  let place: EngineFolder;
  let engine: EngineProcess;
  let api: ApiUnderTest;

  before(async () => {
    const subscription = (name: string, rest: object): object => ({
      name,
      namespaces: [`${DB}.*`],
      allowOverlap: true,
      ...rest,
    });
    place = await EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [
        subscription('returned', { onUnroutable: 'park', to: { exchange: `${DB}-returned` } }),
        subscription('lacking', { to: { exchange: `${DB}-lacking`, routingKey: '{fullDocument.absent}' } }),
        subscription('fine', { to: { queue: `${DB}-fine` } }),
      ],
      pipeline: { partitions: 2 },
      http: { listen: '127.0.0.1:0', token: TOKEN },
    });
    engine = place.start();
    api = await ApiUnderTest.of(engine, TOKEN);
    await until('it reads', async () => {
      const { subscriptions } = await api.good<{ subscriptions: { status: { state: string } }[] }>('/subscriptions');
      return subscriptions.every(({ status }) => status.state === 'flowing');
    });
    await servers.client
      .db(DB)
      .collection<{ _id: number }>('c')
      .insertMany([1, 2, 3, 4, 5].map((_id) => ({ _id })));
    await until('five are parked for each of two', async () => (await parked()).length === 10);
  });
  after(async () => place?.[Symbol.asyncDispose]());

  const parked = async (query = ''): Promise<readonly { id: string; event: string; subscription: string }[]> =>
    (
      await api.good<{ parked: { id: string; event: string; subscription: string }[] }>(
        '/parked',
        `/parked?limit=500${query}`,
      )
    ).parked;
  const replay = async (body: object): Promise<Replayed> => {
    api.assertTaken('/parked/replay', 'post', body);
    return api.good<Replayed>('/parked/replay', '/parked/replay', 'post', body);
  };
  const drop = async (body: object): Promise<Dropped> => {
    api.assertTaken('/parked/drop', 'post', body);
    return api.good<Dropped>('/parked/drop', '/parked/drop', 'post', body);
  };
  const counts = (all: readonly Count[]) =>
    all.map(({ subscription, reason, events }) => ({ subscription, reason, events }));

  test('only who may can change them, with a body that says which', async () => {
    for (const path of ['/parked/replay', '/parked/drop']) {
      const post = async (body: unknown, headers = {}) => api.ask(path, { method: 'POST', body, headers });
      api.assertProblem(path, await post({}, { Authorization: '' }), 'api-unauthorized');
      api.assertProblem(path, await post({}, { Origin: 'https://elsewhere.example' }), 'api-cross-site');
      api.assertProblem(path, await post('{}', { 'Content-Type': 'text/plain' }), 'api-content-type');
      const [one] = await parked();
      for (const [body, fault] of [
        [undefined, 'body'],
        [{ reason: 'whim' }, 'body.reason'],
        [{ since: 'yesterday' }, 'body.since'],
        [{ ids: ['x'] }, 'body.ids[0]'],
        [{ ids: [] }, 'body.ids'],
        [{ ids: [one!.id], reason: 'unroutable' }, 'body.ids'],
        [{ after: 'x' }, 'body.after'],
        [{ dryRun: 'yes' }, 'body.dryRun'],
        [{ before: '2020-01-01' }, 'body.before'],
      ] as const) {
        const refused = await post(body);
        api.assertProblem(path, refused, 'api-bad-request');
        assert.equal((refused.body as { faults: { path: string }[] }).faults[0]!.path, fault, JSON.stringify(body));
      }
    }
    const everything = await api.ask('/parked/drop', { method: 'POST', body: {} });
    api.assertProblem('/parked/drop', everything, 'api-bad-request');
    assert.match(JSON.stringify(everything.body), /all: true/);
    assert.equal((await parked()).length, 10);
  });

  test('a replay delivers what is taken now, marked, keeps the rest with its reason, and a trial changes nothing', async () => {
    const trial = await replay({ dryRun: true });
    assert.deepEqual([trial.dryRun, trial.replayed, trial.next], [true, 5, null]);
    assert.deepEqual(counts(trial.kept), [{ subscription: 'lacking', reason: 'missing-field', events: 5 }]);

    const useless = await replay({});
    assert.equal(useless.replayed, 0);
    assert.deepEqual(counts(useless.kept), [
      { subscription: 'lacking', reason: 'missing-field', events: 5 },
      { subscription: 'returned', reason: 'unroutable', events: 5 },
    ]);
    assert.equal((await parked()).length, 10);

    await onBroker(servers.rabbit.uri, async (channel) => {
      await channel.assertQueue(`${DB}-returned`, { durable: true });
      await channel.bindQueue(`${DB}-returned`, `${DB}-returned`, '#');
    });
    const [first, second] = await parked('&subscription=returned');
    assert.equal((await replay({ events: [first!.event], subscription: 'returned' })).replayed, 1);
    assert.equal((await replay({ ids: [second!.id, first!.id] })).replayed, 1);
    assert.equal((await replay({ subscription: 'returned', until: '2020-01-01' })).replayed, 0);
    assert.deepEqual(await replay({ subscription: 'returned' }), { dryRun: false, replayed: 3, kept: [], next: null });
    assert.equal((await parked('&subscription=returned')).length, 0);
    await onBroker(servers.rabbit.uri, async (channel) => {
      const ids: string[] = [];
      for (;;) {
        const message = await channel.get(`${DB}-returned`, { noAck: true });
        if (message === false) break;
        assert.equal(message.properties.headers?.['x-tailrace-replayed'], 'true');
        ids.push((JSON.parse(message.content.toString()) as { _id: string })._id);
      }
      const expected = await historyOf(servers.client, DB);
      assert.deepEqual(
        ids,
        expected.map(({ id }) => `src:${id}`),
      );
    });
  });

  test('dropping says what it would drop, and drops what was chosen', async () => {
    const all = await parked('&subscription=lacking');
    const lacking = (events: number): Count[] => [{ subscription: 'lacking', reason: 'missing-field', events }];
    const trial = await drop({ dryRun: true });
    assert.deepEqual([trial.dropped, counts(trial.counts)], [5, lacking(5)]);
    assert.equal((await parked()).length, 5);
    const two = await drop({ ids: all.slice(0, 2).map(({ id }) => id) });
    assert.deepEqual([two.dropped, two.next], [2, null]);
    assert.equal((await drop({ reason: 'too-large' })).dropped, 0);
    assert.deepEqual(await drop({ events: [all[2]!.event] }), {
      dryRun: false,
      dropped: 1,
      counts: lacking(1),
      next: null,
    });
    assert.equal((await drop({ all: true })).dropped, 2);
    assert.deepEqual(await parked(), []);
    const { store } = await api.good<{ store: { bytes: number } }>('/parked');
    assert.equal(store.bytes, 0);
  });

  test('one such work at a time; it ends with the engine, and what it did not come to stays', async (t) => {
    await onBroker(servers.rabbit.uri, async (channel) => channel.deleteQueue(`${DB}-returned`));
    await servers.client
      .db(DB)
      .collection('many')
      .insertMany(Array.from({ length: MANY }, () => ({ filling: 'x'.repeat(200) })));
    await until(
      'all are parked',
      async () =>
        (await api.good<{ subscriptions: { status: { parked: number } }[] }>('/subscriptions')).subscriptions[0]!.status
          .parked === MANY,
    );
    await onBroker(servers.rabbit.uri, async (channel) => {
      await channel.assertQueue(`${DB}-returned`, { durable: true });
      await channel.bindQueue(`${DB}-returned`, `${DB}-returned`, '#');
    });
    const first = api
      .ask('/parked/replay', { method: 'POST', body: { subscription: 'returned' } })
      .catch(() => undefined);
    await until('it replays', async () => (await countMessages(servers.rabbit.uri, `${DB}-returned`)) > 0);
    for (const path of ['/parked/replay', '/parked/drop']) {
      api.assertProblem(
        path,
        await api.ask(path, {
          method: 'POST',
          body: { all: true, ...(path.endsWith('replay') && { all: undefined }) },
        }),
        'api-conflict',
      );
    }
    const started = performance.now();
    assert.equal(await engine.terminate(), 0);
    t.diagnostic(`it ended in ${Math.round(performance.now() - started)} ms`);
    await first;
    assert.doesNotMatch(engine.log(), /"level":"(?:fatal|error)"(?!.*"code":"parked-)/);
    const sent = await countMessages(servers.rabbit.uri, `${DB}-returned`);
    const { stdout } = await place.command('parked', 'list', '--json', '--subscription', 'returned');
    const left = (JSON.parse(stdout) as { parked: unknown[] }).parked.length;
    t.diagnostic(`${sent} sent, ${left} left of ${MANY}`);
    assert.ok(left > 0 && sent + left >= MANY && sent + left <= MANY + 1, `${sent} sent, ${left} left`);
  });
});
