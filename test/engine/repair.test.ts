import assert from 'node:assert/strict';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { recentName } from '../../src/checkpoint/data-folder.ts';
import { EngineFolder } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered, untilFlowing, untilReading } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';

describe('the checkpoints of a stopped engine', () => {
  const servers = useSharedServers();

  const config = (db: string, start = 'latest'): object => ({
    sources: { src: { uri: servers.mongo.uri, start } },
    sinks: { mq: { uri: servers.rabbit.uri } },
    subscriptions: [{ name: 'all', namespaces: [`${db}.*`], to: { queue: db } }],
    pipeline: { partitions: 4 },
    checkpoint: { path: './data' },
  });

  test('that were damaged when it was killed are restored: some comes again, nothing is missing', async (t) => {
    const db = 'repair-restored';
    const start = await endOfOplog(servers.client);
    await writeHistory(servers.client, { db, collections: 4, events: 20_000 });
    const expected = await historyOf(servers.client, db);
    await using place = await EngineFolder.create(config(db, start));
    const engine = place.start();
    await untilFlowing(engine);
    await sleep(300);
    await engine.kill();
    await truncate(join(place.folder, 'data', 'checkpoints', 'data.mdb'), 8_192);
    for (const name of ['a', 'b']) await truncate(join(place.folder, 'data', recentName(), name), 20);
    // Whoever begins anew at `latest` would skip all that is left.
    await place.configure(config(db, 'latest'));
    const refused = place.start();
    assert.equal(await refused.ended(), 2, refused.log());
    assert.equal(refused.fatal().code, 'store-damaged');
    assert.match(refused.fatal().msg, /`tailrace checkpoint restore`/);
    const restored = await place.command('checkpoint', 'restore');
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(restored.stdout, /^all +src +\d+:\d+ \(/m);
    assert.match((await place.command('checkpoint', 'restore')).stdout, /are sound: nothing was changed/);
    const last = place.start();
    await untilDelivered(last, expected);
    assert.equal(await last.terminate(), 0);
    const verdict = judge(expected, await readDry(servers.rabbit.uri, db), ({ ns }) => ns);
    t.diagnostic(`${verdict.repeated} of ${expected.length} came again`);
    assertKept(verdict);
  });

  test('are set back, and what was delivered comes again; or forward, and what is skipped is on record', async () => {
    const db = 'repair-set';
    await using place = await EngineFolder.create(config(db));
    const first = place.start();
    await untilReading(first);
    const before = await endOfOplog(servers.client);
    await writeHistory(servers.client, { db, collections: 2, events: 40 });
    const expected = await historyOf(servers.client, db);
    await untilDelivered(first, expected);
    const running = await place.command('checkpoint', 'set', 'all', before, '--yes');
    assert.equal(running.code, 2);
    assert.match(
      running.stderr,
      /`tailrace checkpoint set` works on a stopped engine[^]*`tailrace ctl post subscriptions\/all\/move/,
    );
    assert.equal(await first.terminate(), 0);

    const unsaid = await place.command('checkpoint', 'set', 'all', before);
    assert.deepEqual([unsaid.code, /say `--yes`/.test(unsaid.stderr)], [2, true]);
    const future = await place.command('checkpoint', 'set', 'all', '2100-01-01', '--yes');
    assert.match(future.stderr, /lies in the future/);
    const lost = await place.command('checkpoint', 'set', 'all', '2020-01-01', '--yes');
    assert.equal(lost.code, 2);
    assert.match(
      lost.stderr,
      /^tailrace: 2020-01-01 is not in the oplog of source "src", whose oldest entry is \d+:\d+ \(/,
    );
    assert.match(lost.stderr, /\[code: position-truncated;/);
    const back = await place.command('checkpoint', 'set', 'all', before, '--yes');
    assert.match(back.stdout, /Repeated: [^]*still has\.\nSet\.\n$/, back.stderr);
    const second = place.start();
    await untilDelivered(second, expected);
    assert.equal(await second.terminate(), 0);
    assert.equal(judge(expected, await readDry(servers.rabbit.uri, db), ({ ns }) => ns).repeated, expected.length);

    await servers.client.db(db).collection('c0').insertOne({});
    const skipped = (await historyOf(servers.client, db)).at(-1)!;
    const forward = await place.command('checkpoint', 'set', 'all', 'latest', '--yes');
    assert.match(forward.stdout, /SKIPPED: /, forward.stderr);
    const third = place.start();
    await untilReading(third);
    await servers.client.db(db).collection('c0').insertOne({});
    const later = (await historyOf(servers.client, db)).slice(-1);
    await untilDelivered(third, later);
    assert.equal((await third.status()).gaps.at(-1)?.reason, 'skipped');
    assert.equal(await third.terminate(), 0);
    const received = await readDry(servers.rabbit.uri, db);
    assert.deepEqual(received, [later[0]!.id]);
    assert.ok(!received.includes(skipped.id));

    const forgotten = await place.command('checkpoint', 'forget', 'all', '--yes');
    assert.match(forgotten.stdout, /begins at `start: latest` [^]*SKIPPED[^]*Forgotten\./, forgotten.stderr);
    assert.match((await place.command('checkpoint', 'show')).stdout, /^No checkpoints/);
    assert.equal((await place.command('checkpoint', 'forget', 'all', '--yes')).code, 2);
    const unseen = await endOfOplog(servers.client);
    await servers.client.db(db).collection('c0').insertOne({});
    const fourth = place.start();
    await untilReading(fourth);
    const gap = (await fourth.status()).gaps.at(-1)!;
    assert.equal(await fourth.terminate(), 0);
    assert.equal(gap.reason, 'skipped');
    assert.ok(secondsOf(gap.from) <= secondsOf(unseen) && secondsOf(unseen) <= secondsOf(gap.to), JSON.stringify(gap));
  });

  test('can be set while the source is away, which is said, by what was stored of it', async () => {
    const db = 'repair-away';
    await using place = await EngineFolder.create(config(db));
    const away = { src: { uri: 'mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=500' } };
    const engine = place.start();
    await untilReading(engine);
    assert.equal(await engine.terminate(), 0);
    await place.configure({ ...config(db), sources: away });
    const set = await place.command('checkpoint', 'set', 'all', '2026-01-01', '--yes');
    assert.match(set.stdout, /is not known: source "src" cannot be reached\.\nSet\.\n$/, set.stderr);
    const { stdout } = await place.command('checkpoint', 'show', '--json');
    assert.match(stdout, /"kind": "from",\s+"position": "1767225600:0"/);
  });
});

function secondsOf(position: string): number {
  return Number(position.split(':', 1)[0]);
}
