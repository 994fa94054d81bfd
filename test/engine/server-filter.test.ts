import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { historyOf, writeHistory } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';

test('with serverFilter: on the checkpoint moves on while only others write, and a kill there loses and repeats nothing', async (t) => {
  const [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
  t.after(() => Promise.all([mongo.stop(), rabbit.stop()]));
  const client = await MongoClient.connect(mongo.uri);
  t.after(() => client.close());
  await using place = await EngineFolder.create({
    sources: { src: { uri: mongo.uri, serverFilter: 'on' } },
    sinks: { mq: { uri: rabbit.uri } },
    subscriptions: [{ name: 'ours', namespaces: ['filtered*'], to: { queue: 'filtered' } }],
    pipeline: { workers: 1, partitions: 2 },
  });
  const first = place.start();
  await untilReading(first);
  await writeHistory(client, { db: 'filtered1', collections: 4, events: 400 });
  const before = await historyOf(client, 'filtered1');
  await untilDelivered(first, before);

  const stop = new AbortController();
  let foreign = 0;
  const busy = (async () => {
    for (; !stop.signal.aborted; foreign++) await client.db('unwanted').collection('busy').insertOne({});
  })();
  const watermark = async (engine = first): Promise<string | null> =>
    (await engine.status()).subscriptions['ours']!.watermark;
  try {
    const seen = new Set([await watermark()]);
    await until('the watermark moves on twice', async () => seen.add(await watermark()).size >= 3);
    const { lagSeconds, state } = (await first.status()).sources['src']!;
    assert.equal(state, 'reading');
    assert.ok(lagSeconds !== null && lagSeconds < 15, `${lagSeconds} s of lag`);
    // Nothing but no-ops and commands can have come beside ours.
    const read = await first.metric('tailrace_entries_read_total');
    assert.ok(read < before.length + 50, `${read} entries read, ${before.length} of them wanted`);
    assert.ok(foreign > 100, `only ${foreign} foreign changes`);

    // What the checkpoint's interval leaves unwritten.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await first.kill();
    const { stdout } = await place.command('checkpoint', 'show', '--json');
    const resume = Number(/"resume": \{[^}]*"position": "(\d+):/.exec(stdout)?.[1]);
    const lastOfOurs = Number(before.at(-1)!.id.split('.')[0]);
    assert.ok(resume >= lastOfOurs + 5, `a restart begins at ${resume}, the last change of ours was at ${lastOfOurs}`);
    await writeHistory(client, { db: 'filtered2', collections: 4, events: 400 });
  } finally {
    stop.abort();
    await busy;
  }
  const second = place.start();
  const all = await historyOf(client, 'filtered[12]');
  await untilDelivered(second, all);
  const read = await second.metric('tailrace_entries_read_total');
  assert.ok(read < all.length - before.length + 50, `${read} entries read again`);
  assert.equal(await second.terminate(), 0);
  const verdict = judge(all, await readDry(rabbit.uri, 'filtered'), ({ ns }) => ns);
  assertKept(verdict);
  assert.equal(verdict.repeated, 0);
});
