/** Events watched live, of an engine between real servers: what is shown, to whom, how much of it, and what a watcher cannot do. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { connect as connectBroker } from 'amqplib';
import { MOST_WATCHERS } from '../../src/watch/watchers.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { useOwnServers } from '../servers/with-servers.ts';
import { EventReader } from './event-reader.ts';
import { ApiUnderTest } from './fixtures.ts';

const TOKEN = 'a-token-of-watchers-1234567890';
const DB = 'watch-test';

interface Document {
  readonly _id: number | string;
  readonly ssn?: string;
  readonly large?: string;
}

describe('events watched live', () => {
  const servers = useOwnServers();
  let place: EngineFolder;
  let engine: EngineProcess;
  let api: ApiUnderTest;

  before(async () => {
    const { mongo, rabbit } = servers;
    const of = { source: 'src', namespaces: [`${DB}.*`, '!*.burst'] };
    place = await EngineFolder.create({
      sources: { src: { uri: mongo.uri } },
      sinks: { mq: { uri: rabbit.uri } },
      subscriptions: [
        { name: 'plain', ...of, headers: { where: '{coll}' }, to: { queue: `${DB}-plain` } },
        {
          name: 'packed',
          ...of,
          format: 'bson',
          batch: { maxEvents: 100 },
          compression: 'gzip',
          to: { queue: `${DB}-packed` },
        },
        { name: 'masked', ...of, mask: [{ fields: ['ssn'], with: 'gone' }], to: { queue: `${DB}-masked` } },
        { name: 'stuck', ...of, to: { exchange: `${DB}-nobody` } },
        { name: 'burst', source: 'src', namespaces: [`${DB}.burst`], to: { queue: `${DB}-burst` } },
      ],
      pipeline: { partitions: 4 },
      http: { listen: '127.0.0.1:0', token: TOKEN },
    });
    engine = place.start();
    api = await ApiUnderTest.of(engine, TOKEN);
    const statuses = async (): Promise<readonly { status: { state: string } }[]> =>
      (await api.good<{ subscriptions: { status: { state: string } }[] }>('/subscriptions')).subscriptions;
    await until('it reads', async () => (await statuses()).every(({ status }) => status.state === 'flowing'));
  });
  after(async () => place?.[Symbol.asyncDispose]());

  const collection = (name: string) => servers.client.db(DB).collection<Document>(name);

  test('each event is shown for each subscription, as its message holds it and with where it goes', async () => {
    await using reader = await EventReader.open(api);
    await collection('a').insertMany([1, 2].map((_id) => ({ _id, ssn: 'PRIVATE' })));
    await collection('a').deleteOne({ _id: 2 });
    await reader.until('three events of four subscriptions', ({ length }) => length === 12);
    const by = (name: string) => reader.shown.filter(({ subscription }) => subscription === name);

    const [plain, , removed] = by('plain');
    const broker = await connectBroker(servers.rabbit.uri);
    const channel = await broker.createChannel();
    const message = await channel.get(`${DB}-plain`, { noAck: true });
    await broker.close();
    assert.ok(message);
    assert.deepEqual(plain!.event, JSON.parse(message.content.toString()));
    assert.deepEqual(
      { ...plain, event: null },
      {
        subscription: 'plain',
        partition: plain!.partition,
        ns: `${DB}.a`,
        operationType: 'insert',
        id: message.properties.messageId,
        routingKey: message.fields.routingKey,
        headers: { where: 'a' },
        bytes: message.content.length,
        held: null,
        beginning: null,
        event: null,
      },
    );
    assert.deepEqual([removed!.operationType, removed!.event!.documentKey], ['delete', { _id: 2 }]);

    assert.deepEqual(
      by('packed').map(({ event }) => event),
      by('plain').map(({ event }) => event),
    );
    assert.match(JSON.stringify(by('masked')), /"ssn":"gone"/);
    assert.doesNotMatch(JSON.stringify(by('masked')), /PRIVATE/);
    assert.equal(by('stuck').length, 3);
    assert.deepEqual(reader.leftOut, { overRate: 0, slowReader: 0 });
  });

  test('what a held lane does not let go yet says so', async () => {
    await until('the lane is held', async () => {
      const { status } = await api.good<{ status: { state: string } }>('/subscriptions/{name}', '/subscriptions/stuck');
      return status.state === 'held';
    });
    await using reader = await EventReader.open(api, 'subscription=stuck&subscription=plain');
    await collection('a').insertOne({ _id: 'held' });
    await reader.until('it is shown for both', ({ length }) => length === 2);
    const held = Object.fromEntries(reader.shown.map(({ subscription, held: why }) => [subscription, why]));
    assert.deepEqual(held, { stuck: 'unroutable', plain: null });
  });

  test('the operations of a transaction are shown once it has taken effect', async () => {
    await servers.client.db(DB).createCollection('t');
    await using reader = await EventReader.open(api, `subscription=plain&ns=${DB}.t`);
    await servers.client.withSession(async (session) =>
      session.withTransaction(async () => {
        for (const _id of [1, 2, 3]) await collection('t').insertOne({ _id }, { session });
      }),
    );
    await reader.until('all of them', ({ length }) => length === 3);
    assert.deepEqual(
      reader.shown.map(({ id }) => id.split('.').at(-1)),
      ['0', '1', '2'],
    );
  });

  test('filters find what is rare among much else', async () => {
    const filters = {
      byNamespace: `ns=${DB}.rar*&ns=!*.rarely&subscription=plain`,
      byOperation: 'op=delete&op=replace&subscription=plain&perSecond=1',
      bySubscription: `subscription=masked&ns=*&op=delete`,
      none: `ns=${DB}.nothing`,
    };
    const names = Object.keys(filters) as (keyof typeof filters)[];
    const readers = await Promise.all(names.map((name) => EventReader.open(api, filters[name])));
    try {
      await collection('much').insertMany(Array.from({ length: 5_000 }, (_, i) => ({ _id: i })));
      await collection('rare').insertOne({ _id: 7 });
      await collection('rarely').insertOne({ _id: 7 });
      await collection('much').deleteOne({ _id: 4_000 });
      await collection('much').insertMany(Array.from({ length: 5_000 }, (_, i) => ({ _id: 10_000 + i })));
      const expected = {
        byNamespace: [`insert ${DB}.rare`],
        byOperation: [`delete ${DB}.much`],
        bySubscription: [`delete ${DB}.much`],
        none: [],
      };
      for (const [k, name] of names.entries()) {
        const reader = readers[k]!;
        await reader.until(name, ({ length }) => length === expected[name].length);
        assert.deepEqual(
          reader.shown.map(({ operationType, ns }) => `${operationType} ${ns}`),
          expected[name],
          name,
        );
      }
    } finally {
      for (const reader of readers) await reader[Symbol.asyncDispose]();
    }
  });

  test('no more than asked for is shown, and everything that matches is counted', async () => {
    const perSecond = 10;
    await using reader = await EventReader.open(api, `subscription=plain&ns=${DB}.counted&perSecond=${perSecond}`);
    const began = performance.now();
    const all = 4_000;
    for (let from = 0; from < all; from += 500) {
      await collection('counted').insertMany(Array.from({ length: 500 }, (_, i) => ({ _id: from + i })));
    }
    await until('all are accounted for', () => reader.shown.length + reader.leftOut.overRate === all);
    const seconds = (performance.now() - began) / 1000;
    console.log(`${reader.shown.length} of ${all} shown in ${seconds.toFixed(1)} s`);
    assert.ok(reader.shown.length >= perSecond, `${reader.shown.length}`);
    assert.ok(reader.shown.length <= perSecond * (seconds + 1), `${reader.shown.length} in ${seconds} s`);
    assert.equal(reader.leftOut.slowReader, 0);
    assert.equal(new Set(reader.shown.map(({ id }) => id)).size, reader.shown.length);
  });

  test('of a large event the beginning is shown', async () => {
    await using reader = await EventReader.open(api, `ns=${DB}.large`);
    await collection('large').insertOne({ _id: 1, large: 'é'.repeat(200_000) });
    await reader.until('all four', ({ length }) => length === 4);
    const plain = reader.shown.find(({ subscription }) => subscription === 'plain');
    assert.equal(plain!.event, null);
    assert.ok(plain!.bytes > 400_000);
    assert.match(plain!.beginning!, /^\{"_id":"src:.*é+$/);
    assert.ok(Buffer.byteLength(plain!.beginning!) <= 64 * 1024);
    const packed = reader.shown.find(({ subscription }) => subscription === 'packed');
    assert.deepEqual([packed!.event, packed!.beginning], [null, null]);
  });

  test('bad questions are refused, each part by its name', async () => {
    const refused = async (query: string, code: string, says: RegExp): Promise<void> => {
      const answer = await api.ask(`/events?${query}`);
      api.assertProblem('/events', answer, code);
      assert.match(JSON.stringify(answer.body), says);
    };
    await refused('subscription=nobody', 'api-not-found', /no subscription \\"nobody\\"/);
    await refused('op=insert&op=upsert', 'api-bad-request', /query\.op\[1\]: expected one of insert, update/);
    await refused('ns=shop', 'api-bad-request', /query\.ns\[0\]: expected \\"db\.coll\\"/);
    await refused('ns=!a.b', 'api-bad-request', /query\.ns: expected at least one pattern that includes/);
    for (const rate of ['0', '201', '-1', '1.5', 'x', '']) {
      await refused(`perSecond=${rate}`, 'api-bad-request', /query\.perSecond: expected a whole number from 1 to 200/);
    }
    await refused('nonsense=1', 'api-bad-request', /query\.nonsense: expected no such parameter/);
    const posted = await api.ask('/events', { method: 'POST' });
    assert.deepEqual([posted.status, posted.headers.get('allow')], [405, 'GET, HEAD']);
  });

  test('nobody watches without the token, nor from a page of another site', async () => {
    for (const authorization of ['', `Bearer ${TOKEN}x`]) {
      const refused = await api.ask('/events', { headers: { Authorization: authorization } });
      assert.equal(refused.status, 401);
      api.assertProblem('/events', refused, 'api-unauthorized');
    }
    // A browser gives another site's page nothing of this, as it names no origin.
    const elsewhere = await fetch(`${api.base}/events`, {
      headers: { ...api.authorization, Origin: 'https://elsewhere.example' },
    });
    assert.equal(elsewhere.headers.get('access-control-allow-origin'), null);
    assert.equal(elsewhere.headers.get('cross-origin-resource-policy'), 'same-origin');
    await elsewhere.body?.cancel();
  });

  test('so many may watch and no more; HEAD takes no place, and who goes gives its own back', async () => {
    const head = async (): Promise<Response> =>
      fetch(`${api.base}/events`, { method: 'HEAD', headers: api.authorization });
    // Those of the tests before are gone.
    const readers: EventReader[] = [];
    await until('all places are free', async () => {
      try {
        while (readers.length < MOST_WATCHERS) readers.push(await EventReader.open(api));
        return true;
      } catch {
        return false;
      }
    });
    try {
      const refused = await api.ask('/events');
      assert.equal(refused.status, 503);
      api.assertProblem('/events', refused, 'api-too-many-watchers');
      const empty = await head();
      assert.deepEqual([empty.status, empty.headers.get('content-type')], [200, 'text/event-stream']);
      assert.equal(await empty.text(), '');
      await readers.pop()![Symbol.asyncDispose]();
      await until('a place is free again', async () => {
        const reader = await EventReader.open(api).catch(() => undefined);
        if (reader) readers.push(reader);
        return reader !== undefined;
      });
      assert.equal((await api.ask('/events')).status, 503);
      await collection('a').insertOne({ _id: 'for-all' });
      for (const reader of readers) await reader.until('each is shown it', ({ length }) => length === 4);
    } finally {
      for (const reader of readers) await reader[Symbol.asyncDispose]();
    }
  });

  test(
    'one that never reads holds neither events nor memory; it is told how much it missed',
    { timeout: 180_000 },
    async () => {
      const large = 'x'.repeat(50_000);
      let written = 0;
      const confirmed = async (): Promise<number> => engine.metric('tailrace_messages_confirmed_total');
      const from = await confirmed();
      /** Returns the most memory that was held meanwhile. */
      const load = async (seconds: number): Promise<number> => {
        let most = 0;
        for (const end = performance.now() + seconds * 1_000; performance.now() < end;) {
          await collection('burst').insertMany(
            Array.from({ length: 40 }, (_, i) => ({ _id: `${written + i}`, large })),
          );
          written += 40;
          most = Math.max(most, await engine.rss());
        }
        await until('all of it is delivered', async () => (await confirmed()) - from >= written);
        return Math.max(most, await engine.rss());
      };
      const unwatched = await load(5);
      const socket = await neverReading(await engine.url(), 'subscription=burst&perSecond=200');
      try {
        // What the connection itself takes in is a few megabytes: a second shows one.
        const watched = await load(9);
        const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
        console.log(`${written} events of 50 kB; at most ${mib(unwatched)} unwatched, then ${mib(watched)}`);
        assert.ok(watched - unwatched < 150 * 2 ** 20, mib(watched - unwatched));
        let told = '';
        socket.setEncoding('utf8').on('data', (text: string) => (told += text));
        socket.resume();
        await until('it is told', () => /event: skipped\ndata: \{"overRate":\d+,"slowReader":[1-9]\d*\}/.test(told));
        const shown = told.split('\ndata: {"subscription"').length - 1;
        console.log(`${shown} were shown`);
        assert.ok(shown < written);
      } finally {
        socket.destroy();
      }
    },
  );

  test('whoever stops reading `tailrace ctl events` or `tail` ends it, and nothing is said of it', async () => {
    const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
    const shop = `${DB}.left`;
    let written = 0;
    for (const args of [
      ['ctl', 'events', '--ns', shop, '--url', await engine.url(), '--token', TOKEN],
      ['tail', servers.mongo.uri, '--ns', shop],
    ]) {
      const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.stdout.once('data', () => child.stdout.destroy());
      let code: number | null | undefined;
      child.once('exit', (with_) => (code = with_));
      await until('it has ended', async () => {
        await collection('left').insertMany(
          Array.from({ length: 20 }, () => ({ _id: `left-${written++}`, large: 'x'.repeat(2_000) })),
        );
        return code !== undefined;
      });
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /EPIPE|held|error/);
    }
  });

  test('`tailrace ctl events` prints a line of JSON an event, and ends after as many as asked for', async () => {
    const ctl = async (...args: string[]) =>
      place.command('ctl', 'events', ...args, '--url', await engine.url(), '--token', TOKEN);
    const watching = ctl('--subscription', 'plain', '--ns', `${DB}.shell`, '--op', 'insert', '--count', '2');
    let written = 0;
    let over = false;
    void watching.then(() => (over = true));
    await until('it has what it wants', async () => {
      if (!over) await collection('shell').insertOne({ _id: written++ });
      return over;
    });
    const { code, stdout } = await watching;
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 2);
    for (const line of lines) api.assertSchema('WatchedEvent', JSON.parse(line));

    const refused = await ctl('--op', 'upsert');
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /query\.op\[0\]: expected one of insert, .*\n.*api-bad-request/);
    const wrong = await ctl('--count', '0');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /Expected a whole number from 1 on/);
  });

  test('the stop of the engine ends each watcher promptly, one that reads nothing too', async () => {
    await using reader = await EventReader.open(api);
    const socket = await neverReading(await engine.url(), 'subscription=plain');
    const closed = once(socket, 'close');
    const began = performance.now();
    const ending = engine.terminate();
    await until('the stream is over', () => reader.over);
    const toldMs = performance.now() - began;
    assert.ok(reader.ended);
    assert.equal(await ending, 0, engine.log());
    console.log(`told after ${toldMs.toFixed(0)} ms, ended after ${(performance.now() - began).toFixed(0)} ms`);
    socket.resume();
    await closed;
  });
});

/** Asks as a program does that is stopped right behind its question. */
async function neverReading(url: string, query: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.write(`GET /api/v1/events?${query} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`);
  await until('it watches', () => socket.bytesRead > 0 || socket.readableLength > 0);
  socket.pause();
  return socket;
}
