/**
 * Part of `memory`: one transaction of gigabytes, far beyond what an engine may hold, delivered while a consumer reads its queues. Void unless
 * every operation arrives once, in order within its queue, with one clusterTime and indexes that count over the whole transaction.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { stringify } from 'yaml';
import { build } from '../test/build.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { cpuSeconds, peakRssBytes, rssBytes } from './process-cost.ts';
import type { MemorySample } from './engine-process.ts';
import { environment, printHead, printTable, thousands } from './report.ts';
import type { Environment } from './report.ts';

interface TransactionResult extends Environment {
  readonly operations: number;
  readonly oplogBytes: number;
  readonly oplogEntries: number;
  readonly seconds: number;
  readonly peakRssBytes: number;
  readonly cpuSeconds: number;
  readonly samples: readonly MemorySample[];
}

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const DOCUMENT_BYTES = 20_000;
const PARTITIONS = 4;
const COLLECTIONS = 8;

export async function deliver({ megabytes }: { readonly megabytes: number }): Promise<TransactionResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const progress = (line: string): void => console.log(line);
    const mongo = await startMongo({
      args: ['--oplogSize', String(megabytes * 3), ...FOR_LARGE_TRANSACTIONS],
      progress,
    });
    closers.push(async () => mongo.stop());
    const rabbit = await startRabbit({ progress });
    closers.push(async () => rabbit.stop());
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-bench-'));
    closers.push(async () => rm(folder, { recursive: true }));
    const env = await environment({ mongoUri: mongo.uri, amqpUri: rabbit.uri });
    printHead('One large transaction, read while it is delivered.', env, {
      Load: `${megabytes} MiB, ${DOCUMENT_BYTES} bytes a document, ${COLLECTIONS} collections, ${PARTITIONS} partitions`,
    });

    const operations = Math.ceil((megabytes * 2 ** 20) / DOCUMENT_BYTES);
    console.log(`Writing one transaction of ${thousands(operations)} inserts, ${DOCUMENT_BYTES} bytes each …`);
    const { start, bytes, entries } = await write(mongo.uri, operations);
    console.log(`It takes ${thousands(entries)} entries of the oplog, ${(bytes / 2 ** 20).toFixed(0)} MiB.`);

    await writeFile(
      join(folder, 'tailrace.yaml'),
      stringify({
        sources: { bench: { uri: mongo.uri, start: `${start.t}:${start.i}` } },
        sinks: { rabbit: { uri: rabbit.uri } },
        subscriptions: [{ name: 'all', namespaces: ['large.*'], to: { queue: 'large.{partition}' } }],
        pipeline: { partitions: PARTITIONS },
        http: 'off',
      }),
    );
    const consumer = await consume(rabbit.uri, operations);
    const engine = spawn(process.execPath, [CLI, 'run'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
    const startedAt = performance.now();
    let peak = 0;
    let cpu = 0;
    const samples: MemorySample[] = [];
    let exited = false;
    engine.once('exit', () => (exited = true));
    while (!consumer.complete()) {
      if (exited) throw new Error('the engine has ended');
      await sleep(250);
      peak = Math.max(peak, peakRssBytes(engine.pid!));
      cpu = cpuSeconds(engine.pid!);
      const atSeconds = (performance.now() - startedAt) / 1_000;
      if (atSeconds >= samples.length) samples.push({ atSeconds, rssBytes: rssBytes(engine.pid!) });
    }
    const seconds = (performance.now() - startedAt) / 1000;
    engine.kill('SIGTERM');
    await consumer.close();
    printTable(
      ['operations', 'oplog', 'seconds', 'operations/s', 'MiB/s', 'CPU', 'peak RSS'],
      [
        [
          thousands(operations),
          `${(bytes / 2 ** 20).toFixed(0)} MiB`,
          seconds.toFixed(1),
          thousands(Math.round(operations / seconds)),
          (bytes / 2 ** 20 / seconds).toFixed(0),
          `${cpu.toFixed(1)} s`,
          `${(peak / 2 ** 20).toFixed(0)} MiB`,
        ],
      ],
    );
    console.log('Every operation arrived once, in order within its queue, with one clusterTime.');
    return {
      ...env,
      operations,
      oplogBytes: bytes,
      oplogEntries: entries,
      seconds,
      peakRssBytes: peak,
      cpuSeconds: cpu,
      samples,
    };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function write(uri: string, operations: number) {
  const client = await MongoClient.connect(uri);
  try {
    const db = client.db('large');
    for (let c = 0; c < COLLECTIONS; c++) await db.createCollection(`c${c}`);
    const { operationTime } = await db.command({ ping: 1 });
    const start: Timestamp = operationTime;
    const padding = 'x'.repeat(DOCUMENT_BYTES - 60);
    await client.withSession(async (session) => {
      session.startTransaction();
      for (let n = 0; n < operations;) {
        const documents: { n: number; padding: string }[] = [];
        const c = Math.floor(n / 200) % COLLECTIONS;
        for (const to = Math.min(operations, n + 200); n < to; n++) documents.push({ n, padding });
        await db.collection(`c${c}`).insertMany(documents, { session });
      }
      await session.commitTransaction();
    });
    const [sum] = await client
      .db('local')
      .collection('oplog.rs')
      .aggregate<{ bytes: number; entries: number }>([
        { $match: { ts: { $gt: start }, 'o.applyOps': { $exists: true } } },
        { $group: { _id: null, bytes: { $sum: { $bsonSize: '$$ROOT' } }, entries: { $sum: 1 } } },
      ])
      .toArray();
    return { start, bytes: sum!.bytes, entries: sum!.entries };
  } finally {
    await client.close();
  }
}

/** Reads the queues while they fill, and looks at each event's `_id` only. */
async function consume(uri: string, operations: number) {
  const connection = await connect(uri);
  const seen = new Uint8Array(operations);
  let position: string | undefined;
  let count = 0;
  for (let p = 0; p < PARTITIONS; p++) {
    const channel = await connection.createChannel();
    const queue = `large.${p}`;
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'classic', ...SINGLE } });
    await channel.prefetch(200);
    let last = -1;
    await channel.consume(queue, (message) => {
      if (!message) return;
      const [, at, number] = /^\{"_id":"bench:(\d+\.\d+)\.(\d+)"/.exec(message.content.toString('latin1', 0, 80)) ?? [];
      const index = Number(number);
      position ??= at;
      if (at !== position || seen[index] !== 0 || index <= last) throw new Error(`not expected here: ${at}.${index}`);
      seen[index] = 1;
      last = index;
      count++;
      channel.ack(message);
    });
  }
  return { complete: () => count === operations, close: () => connection.close() };
}

/** mongod keeps an uncommitted transaction in its cache, and gives up long ones. */
const FOR_LARGE_TRANSACTIONS = [
  '--setParameter',
  'transactionLifetimeLimitSeconds=3600',
  '--wiredTigerCacheSizeGB',
  '12',
  '--wiredTigerEngineConfigString',
  'eviction_dirty_trigger=90,eviction_dirty_target=80,eviction_updates_trigger=90,eviction_updates_target=80',
];
const SINGLE = { 'x-single-active-consumer': true };
