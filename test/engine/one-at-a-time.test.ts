import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { Engine } from '../../src/engine.ts';
import { UserError } from '../../src/errors.ts';
import { nothingKept } from '../../src/feed/nothing-kept.ts';
import { noLog } from '../../src/library/no-log.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const DB = 'onceonly';

describe('two engines with data folders of their own and the same subscription', () => {
  const servers = useSharedServers();

  const configFrom = (start: string): object => ({
    sources: { src: { uri: servers.mongo.uri, start } },
    sinks: { mq: { uri: servers.rabbit.uri } },
    subscriptions: [{ name: DB, namespaces: [`${DB}.*`], to: { queue: DB } }],
  });

  test('the second waits, not ready and saying why, and takes over when the first is killed', async () => {
    const start = await endOfOplog(servers.client);
    await using one = await EngineFolder.create(configFrom(start));
    const first = one.start();
    await until('the first is ready', async () => (await first.ready()).ok);
    await writeHistory(servers.client, { db: DB, collections: 2, events: 200 });
    const before = await historyOf(servers.client, DB);
    await untilDelivered(first, before);

    await using two = await EngineFolder.create(configFrom(start));
    const second = two.start();
    await until('the second waits', async () =>
      (await second.ready()).reasons.some((reason) => /another engine delivers it/.test(reason)),
    );
    assert.ok((await first.ready()).ok);
    // It has read them all, from its own beginning; none may have gone out.
    await until(
      'the second has read',
      async () => (await second.metric('tailrace_entries_read_total')) >= before.length,
    );
    const verdict = judge(before, await readDry(servers.rabbit.uri, DB), ({ ns }) => ns);
    assertKept(verdict);
    assert.equal(verdict.repeated, 0);

    await first.kill();
    await servers.client
      .db(DB)
      .collection('late')
      .insertMany(Array.from({ length: 10 }, (_, n) => ({ n })));
    const all = await historyOf(servers.client, DB);
    await untilDelivered(second, all);
    assert.ok((await second.ready()).ok);
    assertKept(judge(all, await readDry(servers.rabbit.uri, DB), ({ ns }) => ns));
    assert.equal(await second.terminate(), 0);
  });

  test('the second ends with the reason where the first stays', async () => {
    await using one = await EngineFolder.create(configFrom('latest'));
    const first = one.start();
    await until('the first is ready', async () => (await first.ready()).ok);
    const engine = new Engine({
      config: await loadConfig(join(one.folder, 'tailrace.yaml'), process.env),
      stores: nothingKept,
      log: noLog,
      version: 'test',
      lockWaitMs: 1_000,
    });
    await assert.rejects(
      engine.run(AbortSignal.timeout(60_000)),
      (error) => error instanceof UserError && error.code === 'subscription-locked',
    );
    // `lock: false` is for those who know that they are not the same.
    await using other = await EngineFolder.create({
      ...configFrom('latest'),
      sinks: { mq: { uri: servers.rabbit.uri, lock: false } },
    });
    const unlocked = other.start();
    await until('it is ready beside the first', async () => (await unlocked.ready()).ok);
  });
});
