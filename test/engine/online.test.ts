/** Sources, sinks and subscriptions that are added, changed and removed in a running engine, while others flow. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { Arrivals } from '../harness/arrivals.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { batchFor, Traffic } from '../harness/traffic.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { startProxy, startRabbit } from '../servers/index.ts';
import type { Proxy } from '../servers/index.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { Random } from '../worker/damage.ts';

const ns = (change: Change): string => change.ns;

/** More of both: `CHANGES=100 EVENTS_PER_SECOND=20000 npm test -- test/engine/online.test.ts`. */
const TIMES = Number(process.env['CHANGES'] ?? 15);
const EVENTS_PER_SECOND = Number(process.env['EVENTS_PER_SECOND'] ?? 1_000);
const BATCH = batchFor(EVENTS_PER_SECOND);
const TOKEN = 'a-token-of-this-test';
const STEADY = 'steady';
/** Of those that come and go. */
const MOST_AT_ONCE = 3;
const HANG_MS = 45_000;

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> & { readonly code?: string; readonly detail?: string };
}

describe('what is managed online', () => {
  const servers = useSharedServers();

  async function ask(engine: EngineProcess, method: string, path: string, body?: object): Promise<Answer> {
    const response = await fetch(`${await engine.url()}/api/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${TOKEN}`, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Answer['body'] };
  }

  async function good(engine: EngineProcess, method: string, path: string, body?: object): Promise<Answer['body']> {
    const answer = await ask(engine, method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  const configurationOf = (db: string, queue: string, more: object = {}): object => ({
    source: 'src',
    namespaces: [`${db}.*`],
    to: { sink: 'mq', queue },
    ...more,
  });

  async function place(db: string, more: object = {}): Promise<EngineFolder> {
    const start = await endOfOplog(servers.client);
    return EngineFolder.create({
      management: 'online',
      http: { listen: '127.0.0.1:0', token: TOKEN },
      sources: { src: { uri: servers.mongo.uri, start } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [{ name: STEADY, ...configurationOf(db, `${db}-${STEADY}`) }],
      pipeline: { partitions: 4 },
      ...more,
    });
  }

  const idsOf = async (queue: string): Promise<string[]> => readDry(servers.rabbit.uri, queue);

  test(`${TIMES} changes by chance: the one that stays loses and repeats nothing, the others have all from where they were told to begin`, async (t) => {
    const db = 'online';
    const random = new Random(20_261_129);
    // The ones that come and go have a part of it: what is held up must not be the machine.
    const namespaces = [`${db}.c0`, `${db}.c1`];
    const wanted = (queue: string, more: object = {}): object =>
      configurationOf(db, queue, { ...BATCH, namespaces, ...more });
    await using folder = await place(db, {
      subscriptions: [{ name: STEADY, ...wanted(`${db}-${STEADY}`, { namespaces: [`${db}.*`] }) }],
    });
    const engine = folder.start();
    await untilReading(engine);
    await using arrivals = await Arrivals.of(servers.rabbit.uri, `${db}-${STEADY}`);
    const traffic = new Traffic({ uri: servers.mongo.uri, db, eventsPerSecond: EVENTS_PER_SECOND });
    /** Of those that there are: where each began, in which queue it has delivered since. */
    const there = new Map<
      string,
      { readonly queue: string; readonly start: string; paused: boolean; version: number }
    >();
    const all: { readonly queue: string; readonly start: string; end?: string }[] = [];
    const began = await endOfOplog(servers.client);
    const did: Record<string, number> = {};
    try {
      await sleep(500);
      arrivals.longestMs = 0;
      for (let n = 0; n < TIMES; n++) {
        const names = [...there.keys()];
        const adding = names.length < MOST_AT_ONCE ? ['add'] : [];
        const what = names.length === 0 ? 'add' : random.of([...adding, 'change', 'pause', 'resume', 'remove']);
        did[what] = (did[what] ?? 0) + 1;
        const name = what === 'add' ? `s${n}` : random.of(names);
        const one = there.get(name);
        if (what === 'add') {
          const queue = `${db}-${name}`;
          const start = random.of([began, await endOfOplog(servers.client)]);
          await good(engine, 'POST', '/subscriptions', {
            name,
            configuration: wanted(queue),
            start,
            by: 'test',
          });
          there.set(name, { queue, start, paused: false, version: 0 });
          all.push({ queue, start });
        } else if (what === 'change') {
          // How it is delivered changes; what it is, and where it goes, does not.
          const version = one!.version + 1;
          const more = { headers: { version: String(version) } };
          await good(engine, 'PUT', `/subscriptions/${name}`, { configuration: wanted(one!.queue, more) });
          there.set(name, { ...one!, version });
        } else if (what === 'remove') {
          await good(engine, 'DELETE', `/subscriptions/${name}`);
          all.find(({ queue }) => queue === one!.queue)!.end = 'removed';
          there.delete(name);
        } else {
          await good(engine, 'POST', `/subscriptions/${name}/${what}`);
          there.set(name, { ...one!, paused: what === 'pause' });
        }
        await sleep(random.below(400));
      }
      t.diagnostic(
        `${JSON.stringify(did)}; the longest silence on the one that stays: ${Math.round(arrivals.longestMs)} ms`,
      );
      for (const [name, { paused }] of there) if (paused) await good(engine, 'POST', `/subscriptions/${name}/resume`);
    } finally {
      await traffic[Symbol.asyncDispose]();
    }
    const written = await traffic.end();
    await untilDelivered(engine, written);
    await arrivals[Symbol.asyncDispose]();
    const versions = (await good(engine, 'GET', '/definitions/versions'))['versions'] as unknown[];
    t.diagnostic(`${written.length} changes were written; ${versions.length} versions`);
    assert.equal(await engine.terminate(), 0);

    const steady = judge(written, arrivals.ids, ns);
    assertKept(steady);
    assert.equal(steady.repeated, 0);
    for (const { queue, start, end } of all) {
      const ids = await idsOf(queue);
      const due = written.filter((change) => namespaces.includes(change.ns) && isAfter(change.id, start));
      const verdict = judge(due, ids, ns);
      // One that was removed has the beginning of each lane's way.
      if (end === undefined) assertKept(verdict);
      assert.deepEqual(verdict.firstOutOfOrder, [], queue);
      assert.equal(verdict.repeated, 0, queue);
      assert.ok(
        ids.every((id) => isAfter(id, start)),
        `${queue} begins at ${start}`,
      );
    }
  });

  test('survives a kill and a restart, and the file is taken again only when somebody applies it', async () => {
    const db = 'online-restart';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    const start = await endOfOplog(servers.client);
    await good(engine, 'POST', '/subscriptions', {
      name: 'more',
      configuration: configurationOf(db, `${db}-more`),
      start,
    });
    await servers.client.db(db).collection('c').insertOne({ a: 1 });
    await until('it is delivered', async () => (await engine.metric('tailrace_messages_confirmed_total')) === 2);
    await engine.kill();

    const again = folder.start();
    await untilReading(again);
    assert.deepEqual(Object.keys((await again.status()).subscriptions).toSorted(), ['more', STEADY]);
    assert.match(again.log(), /the file has others/);
    const definitions = await good(again, 'GET', '/definitions');
    assert.equal(definitions['management'], 'online');
    assert.equal(definitions['version'], 2);
    assert.equal(await again.terminate(), 0);

    // Stopped: the next start has what was applied.
    const plan = await folder.command('plan', '--json');
    assert.deepEqual(JSON.parse(plan.stdout), {
      changes: [{ kind: 'subscription', name: 'more', change: 'removed', settings: [] }],
    });
    const applied = await folder.command('apply', '--yes');
    assert.equal(applied.code, 0, applied.stderr);
    const last = folder.start();
    await untilReading(last);
    assert.deepEqual(Object.keys((await last.status()).subscriptions), [STEADY]);
    // And back, while it runs.
    await good(last, 'POST', '/definitions/versions/2/restore');
    assert.deepEqual(Object.keys((await last.status()).subscriptions).toSorted(), ['more', STEADY]);
    assert.equal(await last.terminate(), 0);
    assert.equal((await idsOf(`${db}-${STEADY}`)).length, 1);
  });

  test('sinks and sources come, change and go; those of others do not notice', async () => {
    const db = 'online-parts';
    // Its source and its sink are the only ones, until there are more.
    const steady = { name: STEADY, namespaces: [`${db}.*`], to: { queue: `${db}-${STEADY}` } };
    await using folder = await place(db, { subscriptions: [steady] });
    const engine = folder.start();
    await untilReading(engine);
    await good(engine, 'POST', '/sinks', { name: 'second', configuration: { uri: servers.rabbit.uri, window: 8 } });
    await good(engine, 'POST', '/sources', { name: 'other', configuration: { uri: servers.mongo.uri } });
    const start = await endOfOplog(servers.client);
    const configuration = { source: 'other', namespaces: [`${db}.*`], to: { sink: 'second', queue: `${db}-other` } };
    await good(engine, 'POST', '/subscriptions', { name: 'other', configuration, start });
    const { insertOne } = { insertOne: async (a: number) => servers.client.db(db).collection('c').insertOne({ a }) };
    const confirmed = async (n: number): Promise<void> =>
      until(`${n} are confirmed`, async () => (await engine.metric('tailrace_messages_confirmed_total')) === n);
    await insertOne(1);
    await confirmed(2);

    const needed = await ask(engine, 'DELETE', '/sinks/second');
    assert.deepEqual([needed.status, needed.body.code], [409, 'api-conflict']);
    assert.match(needed.body.detail!, /^The sink "second" is needed by subscription "other": /);
    const read = await ask(engine, 'DELETE', '/sources/other');
    assert.equal(read.body.code, 'api-conflict');
    assert.match(read.body.detail!, /^The source "other" is needed by subscription "other": /);
    // Its subscription moves over to the new connections.
    await good(engine, 'PUT', '/sinks/second', { configuration: { uri: servers.rabbit.uri, window: 16 } });
    await insertOne(2);
    await confirmed(4);
    await good(engine, 'PUT', '/sources/other', {
      configuration: { uri: servers.mongo.uri, onPositionLost: 'earliest' },
    });
    await insertOne(3);
    await confirmed(6);
    await good(engine, 'DELETE', '/subscriptions/other');
    await good(engine, 'DELETE', '/sinks/second');
    await good(engine, 'DELETE', '/sources/other');
    await insertOne(4);
    // The series of the one that is gone are, too.
    await confirmed(4);
    const status = await engine.status();
    assert.deepEqual([Object.keys(status.sources), Object.keys(status.sinks)], [['src'], ['mq']]);
    const metrics = await (await fetch(`${await engine.url()}/metrics`)).text();
    assert.doesNotMatch(metrics, /"(?:other|second)"/);
    assert.equal(await engine.terminate(), 0);
    assert.equal((await idsOf(`${db}-other`)).length, 3);
    assert.equal((await idsOf(`${db}-${STEADY}`)).length, 4);
  });

  test('what cannot be is refused, and everything is as it was', async () => {
    const db = 'online-bad';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    const connection = await connect(servers.rabbit.uri);
    const channel = await connection.createChannel();
    await channel.assertQueue(`${db}-taken`, { durable: true, arguments: { 'x-max-length': 5 } });
    await connection.close();
    const refused = async (method: string, path: string, body: object, code: string, detail: RegExp): Promise<void> => {
      const answer = await ask(engine, method, path, body);
      assert.equal(answer.body.code, code, JSON.stringify(answer.body));
      assert.match(answer.body.detail!, detail);
    };
    const add = (configuration: object, more: object = {}) => ({ name: 'bad', configuration, ...more });
    const sound = configurationOf(db, `${db}-bad`);
    await refused(
      'POST',
      '/subscriptions',
      add({ ...sound, format: 'xml' }),
      'api-bad-request',
      /body\.configuration\.format/,
    );
    await refused('POST', '/subscriptions', add({ ...sound, source: 'srx' }), 'api-bad-request', /did you mean|"src"/);
    await refused('POST', '/subscriptions', { ...add(sound), name: STEADY }, 'api-conflict', /already/);
    await refused(
      'POST',
      '/subscriptions',
      add(sound, { start: 'yesterday' }),
      'api-bad-request',
      /body\.start: expected latest/,
    );
    await refused('POST', '/subscriptions', add(sound, { start: '1:1' }), 'api-conflict', /has left the oplog/);
    await refused('POST', '/subscriptions', add(sound, { start: '4294967290:1' }), 'api-conflict', /in the future/);
    await refused(
      'POST',
      '/subscriptions',
      add(configurationOf(db, `${db}-taken`)),
      'api-conflict',
      /other properties/,
    );
    const uri = 'mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=500';
    await refused('PUT', '/sources/src', { configuration: { uri } }, 'api-conflict', /cannot be reached/);
    const wrong = servers.rabbit.uri.replace(/\/\/[^@]*@|\/\//, '//nobody:wrong@');
    await refused('PUT', '/sinks/mq', { configuration: { uri: wrong } }, 'api-conflict', /nobody|login|user/i);
    // A changed one that cannot begin where it is told goes on as it was.
    await refused(
      'PUT',
      `/subscriptions/${STEADY}`,
      { configuration: configurationOf(db, `${db}-${STEADY}`), start: '1:1' },
      'api-conflict',
      /has left the oplog/,
    );
    await refused('DELETE', '/subscriptions/nobody', {}, 'api-bad-request', /body/);
    assert.equal((await ask(engine, 'DELETE', '/subscriptions/nobody')).body.code, 'api-not-found');
    await servers.client.db(db).collection('c').insertOne({ a: 1 });
    await until('it flows', async () => (await engine.metric('tailrace_messages_confirmed_total')) === 1);
    assert.deepEqual((await engine.ready()).reasons, []);
    assert.equal((await good(engine, 'GET', '/definitions'))['version'], 1);
    assert.equal(await engine.terminate(), 0);
    assert.equal((await idsOf(`${db}-${STEADY}`)).length, 1);
  });

  test('the last one goes, too, and another comes', async () => {
    const db = 'online-none';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    await good(engine, 'DELETE', `/subscriptions/${STEADY}`);
    assert.deepEqual((await engine.status()).subscriptions, {});
    assert.deepEqual((await engine.ready()).reasons, []);
    assert.equal(await engine.terminate(), 0);

    const again = folder.start();
    await until('it is ready', async () => (await again.ready()).reasons.length === 0);
    const start = await endOfOplog(servers.client);
    await servers.client.db(db).collection('c').insertOne({ a: 1 });
    await good(again, 'POST', '/subscriptions', {
      name: 'new',
      configuration: configurationOf(db, `${db}-new`),
      start,
    });
    await until('it is delivered', async () => (await again.metric('tailrace_messages_confirmed_total')) === 1);
    assert.equal(await again.terminate(), 0);
  });

  test('one that goes to standard output outlives other changes, and a restart', async () => {
    const db = 'online-stdout';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    const configuration = { source: 'src', namespaces: [`${db}.*`], to: 'stdout' };
    await good(engine, 'POST', '/subscriptions', { name: 'shown', configuration });
    await good(engine, 'POST', '/subscriptions', { name: 'more', configuration: configurationOf(db, `${db}-more`) });
    assert.equal(await engine.terminate(), 0);
    const again = folder.start();
    await untilReading(again);
    assert.deepEqual(Object.keys((await again.status()).subscriptions).toSorted(), ['more', 'shown', STEADY]);
    assert.equal(await again.terminate(), 0);
  });

  test('changes that are asked for at once all hold', async () => {
    const db = 'online-at-once';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    const names = ['a', 'b', 'c'];
    await Promise.all(
      names.map(async (name) =>
        good(engine, 'POST', '/subscriptions', { name, configuration: configurationOf(db, `${db}-${name}`) }),
      ),
    );
    assert.deepEqual(Object.keys((await engine.status()).subscriptions).toSorted(), [...names, STEADY]);
    assert.equal((await good(engine, 'GET', '/definitions'))['version'], 4);
    assert.equal(await engine.terminate(), 0);
  });

  /** Its source is reached through a proxy. */
  async function behind(proxy: Proxy, db: string, source: object = {}): Promise<EngineFolder> {
    const uri = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    const start = await endOfOplog(servers.client);
    return place(db, { sources: { src: { uri, start, ...source } } });
  }

  const insert = async (db: string, n: number): Promise<unknown> =>
    servers.client
      .db(db)
      .collection('c')
      .insertMany(Array.from({ length: n }, (_, a) => ({ a })));

  test('while MongoDB does not answer a change comes to nothing, and whoever was read for is read for again', async () => {
    const db = 'online-away';
    await using proxy = await startProxy({ to: Number(new URL(servers.mongo.uri).port) });
    await using folder = await behind(proxy, db);
    const engine = folder.start();
    await untilReading(engine);
    await insert(db, 10);
    await until('they are delivered', async () => (await engine.metric('tailrace_messages_confirmed_total')) === 10);
    proxy.pause();
    const configuration = configurationOf(db, `${db}-${STEADY}`, { headers: { version: '2' } });
    const refused = await ask(engine, 'PUT', `/subscriptions/${STEADY}`, { configuration });
    assert.equal(refused.body.code, 'api-conflict', JSON.stringify(refused.body));
    assert.match(refused.body.detail!, /cannot be reached/);
    assert.equal((await good(engine, 'GET', '/definitions'))['version'], 1);
    await insert(db, 10);
    proxy.resume();
    proxy.cut();
    await until('they are delivered', async () => (await engine.metric('tailrace_messages_confirmed_total')) >= 20);
    await good(engine, 'PUT', `/subscriptions/${STEADY}`, { configuration });
    assert.equal(await engine.terminate(), 0);
    assert.equal(new Set(await idsOf(`${db}-${STEADY}`)).size, 20);
  });

  test('a kill, or a stop, in the middle of a change leaves it done or undone, and every start where it was asked for', async () => {
    const db = 'online-killed';
    await using proxy = await startProxy({ to: Number(new URL(servers.mongo.uri).port) });
    await using folder = await behind(proxy, db, { start: 'latest' });
    const engine = folder.start();
    await untilReading(engine);
    const start = await endOfOplog(servers.client);
    await insert(db, 10);
    await until('they are delivered', async () => (await engine.metric('tailrace_messages_confirmed_total')) === 10);
    const add = (on: EngineProcess, name: string): Promise<Answer | undefined> =>
      ask(on, 'POST', '/subscriptions', { name, configuration: configurationOf(db, `${db}-${name}`), start }).catch(
        () => undefined,
      );
    const version = async (on: EngineProcess): Promise<unknown> => (await good(on, 'GET', '/definitions'))['version'];
    proxy.pause();
    void add(engine, 'killed');
    await until('the version is stored', async () => (await version(engine)) === 2);
    await engine.kill();
    proxy.resume();
    proxy.cut();

    const again = folder.start();
    await untilReading(again);
    await until('its start held', async () => (await again.metric('tailrace_messages_confirmed_total')) === 10);
    proxy.pause();
    const stopped = add(again, 'stopped');
    await until('the version is stored', async () => (await version(again)) === 3);
    assert.equal(await again.terminate(), 0);
    assert.notEqual((await stopped)?.status, 201);
    proxy.resume();
    proxy.cut();

    const last = folder.start();
    await untilReading(last);
    assert.deepEqual(Object.keys((await last.status()).subscriptions).toSorted(), ['killed', STEADY]);
    assert.equal(await last.terminate(), 0);
    assert.equal((await idsOf(`${db}-killed`)).length, 10);
    assert.equal((await idsOf(`${db}-${STEADY}`)).length, 10);
  });

  test('a broker that takes nothing holds up no change for longer than it must', async (t) => {
    const db = 'online-blocked';
    const rabbit = await startRabbit({});
    try {
      await using folder = await place(db, {
        sinks: { mq: { uri: servers.rabbit.uri }, blocked: { uri: rabbit.uri } },
      });
      const engine = folder.start();
      await untilReading(engine);
      const to = { sink: 'blocked', queue: `${db}-other` };
      const configuration = configurationOf(db, '', { to });
      await good(engine, 'POST', '/subscriptions', { name: 'other', configuration });
      await rabbit.setMemoryAlarm(true);
      await insert(db, 10);
      await until('it is blocked', async () => (await engine.status()).sinks['blocked']!.blocked !== null);
      const began = performance.now();
      const more = { headers: { version: '2' } };
      const changed = await ask(engine, 'PUT', '/subscriptions/other', {
        configuration: { ...configuration, ...more },
      });
      t.diagnostic(`answered ${changed.status} after ${Math.round(performance.now() - began)} ms`);
      // RabbitMQ reads nothing from a connection that has published: one that has not can still be asked.
      if (changed.status !== 200) assert.match(changed.body.detail!, /takes nothing/);
      assert.ok(performance.now() - began < HANG_MS);
      // It can go all the same.
      await good(engine, 'DELETE', '/subscriptions/other');
      await good(engine, 'DELETE', '/sinks/blocked');
      await until('the other flows', async () => (await engine.metric('tailrace_messages_confirmed_total')) === 10);
      assert.equal(await engine.terminate(), 0);
    } finally {
      await rabbit.stop();
    }
  });

  test('with the file in charge nothing but pausing changes anything', async () => {
    const db = 'online-file';
    await using folder = await place(db, { management: 'file' });
    const engine = folder.start();
    await untilReading(engine);
    const { status, body } = await ask(engine, 'DELETE', `/subscriptions/${STEADY}`);
    assert.deepEqual([status, body.code], [409, 'managed-by-file']);
    const plan = await folder.command('plan');
    assert.equal(plan.code, 2);
    assert.match(plan.stderr, /management: online/);
    assert.equal(await engine.terminate(), 0);
  });
});

/** Whether a change, `seconds.increment.index`, came after `seconds:increment`. */
function isAfter(id: string, position: string): boolean {
  const [seconds = 0, increment = 0] = id.split('.').map(Number);
  const [s = 0, i = 0] = position.split(':').map(Number);
  return seconds > s || (seconds === s && increment > i);
}
