/**
 * `npm run demo`: a real replica set, a real RabbitMQ, the built engine between them, and a small shop at work. Then
 * everything is read back and compared with what was written. Exits 0 only if all of it arrived, in order, and the engine
 * stopped cleanly. Whatever it starts ends with it.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { stringify } from 'yaml';
import { build } from '../test/build.ts';
import { ServersUnavailable, startMongo, startRabbit } from '../test/servers/index.ts';
import { reapFolder, spareFolder } from '../test/servers/reaper.ts';
import { EngineProcess } from './demo/engine-process.ts';
import { LIVE_EVERY_MS, endLive, live, pretty, say, summary } from './demo/screen.ts';
import { fileTarget, rabbitTarget } from './demo/targets.ts';
import type { Target } from './demo/targets.ts';
import { judge } from './demo/verdict.ts';
import type { Delivered } from './demo/verdict.ts';
import { work } from './demo/workload.ts';
import type { Written } from './demo/workload.ts';

const WORK_MS = 12_000;
const CONFIRM_TIMEOUT_MS = 30_000;

const began = performance.now();
const closers: (() => Promise<unknown>)[] = [];
const folder = await mkdtemp(join(tmpdir(), 'tailrace-demo-'));
reapFolder(folder);
const config = join(folder, 'tailrace.yaml');
try {
  process.exitCode = (await demo()) ? 0 : 1;
} catch (error) {
  say(`The demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const close of closers.toReversed()) await close();
}
// What a failure leaves is for whoever looks into it.
if (process.exitCode !== 0 && existsSync(config)) say(`The engine's configuration and log are in ${folder}`);
else await rm(folder, { recursive: true });
spareFolder(folder);

async function demo(): Promise<boolean> {
  say('Building the engine, bringing up mongod and RabbitMQ …');
  const progress = (line: string): void => say(`  ${line}`);
  const [built, mongoStart, rabbitStart] = await Promise.allSettled([
    build(),
    startMongo({ fresh: false, progress }),
    startRabbit({ fresh: false, progress }),
  ]);
  for (const start of [mongoStart, rabbitStart]) {
    if (start.status === 'fulfilled') closers.push(async () => start.value.stop());
  }
  if (built.status === 'rejected') throw built.reason;
  if (mongoStart.status === 'rejected') throw mongoStart.reason;
  const mongo = mongoStart.value;
  let target: Target;
  if (rabbitStart.status === 'fulfilled') target = rabbitTarget(rabbitStart.value.uri);
  else if (rabbitStart.reason instanceof ServersUnavailable) {
    say(`  ${rabbitStart.reason.message}.`);
    say('  Going on without a broker: the changes go to a file instead.');
    target = fileTarget(folder);
  } else throw rabbitStart.reason;

  await writeFile(config, configuration(mongo.uri, target));
  const engine = await EngineProcess.start({ config, logPath: join(folder, 'engine.log') });
  closers.push(async () => engine.stop());
  say(`Ready after ${seconds(performance.now() - began)}. Changes of the database "shop" go to ${target.words}.`);

  const written = await watchedWork(mongo.uri, engine);
  const delivered = await target.readBack();
  const exit = await engine.stop();
  const verdict = judge(written, delivered);

  for (const operation of ['insert', 'update', 'delete'] as const) sample(operation, delivered);
  say(`\n${summary(verdict.tallies)}\n`);
  const { strangers, fallingIds, repeats } = verdict;
  say(`  delivered more than once: ${repeats} · never written: ${strangers} · ids that do not rise: ${fallingIds}`);
  say(`  the engine's exit code after SIGTERM: ${exit}`);
  const held = verdict.held && exit === 0;
  const words = held ? 'Every change arrived, in order' : 'NOT everything held';
  say(`\n${words}: ${written.length} changes, ${seconds(performance.now() - began)} in all.`);
  return held;
}

/** `start: latest` is enough: the engine is ready before the first write. */
function configuration(uri: string, target: Target): string {
  return stringify({
    sources: { shop: { uri, start: 'latest' } },
    ...(Object.keys(target.sinks).length > 0 ? { sinks: target.sinks } : {}),
    subscriptions: [{ name: 'demo', namespaces: ['shop.*'], to: target.to }],
    checkpoint: { path: './tailrace-data' },
    http: { listen: '127.0.0.1:0' },
  });
}

async function watchedWork(uri: string, engine: EngineProcess): Promise<Written[]> {
  const written: Written[] = [];
  const client = new MongoClient(uri);
  const finished = new AbortController();
  const watching = watch(engine, written, finished.signal);
  try {
    await work({ db: client.db('shop'), durationMs: WORK_MS, onWritten: (change) => written.push(change) });
    const deadline = performance.now() + CONFIRM_TIMEOUT_MS;
    while ((await confirmed(engine)) < written.length && performance.now() < deadline) await sleep(50);
  } finally {
    finished.abort();
    await client.close();
    await watching;
  }
  return written;
}

async function confirmed(engine: EngineProcess): Promise<number> {
  if (!engine.running) throw new Error(`the engine ended in mid-flow; its log: ${engine.logPath}`);
  return (await engine.metrics())('tailrace_messages_confirmed_total');
}

async function watch(engine: EngineProcess, written: readonly Written[], stop: AbortSignal): Promise<void> {
  const start = performance.now();
  let before = { at: start, events: 0 };
  let rate = 0;
  while (!stop.aborted && engine.running) {
    await sleep(LIVE_EVERY_MS, undefined, { signal: stop }).catch(() => {});
    const value = await engine.metrics().catch(() => undefined);
    if (value === undefined) break;
    const now = { at: performance.now(), events: value('tailrace_events_published_total') };
    // Over a second at least, or the number jumps about.
    if (now.at - before.at >= 950) {
      rate = ((now.events - before.events) * 1_000) / (now.at - before.at);
      before = now;
    }
    const cells = [
      seconds(now.at - start),
      `written ${written.length}`,
      `confirmed ${value('tailrace_messages_confirmed_total')}`,
      `${rate.toFixed(0)} events/s`,
      `lag ${value('tailrace_source_lag_seconds').toFixed(0)} s`,
    ];
    live(`  ${cells.join('   ')}`);
  }
  endLive();
}

function sample(operation: Written['operation'], delivered: readonly Delivered[]): void {
  const of = delivered.filter(({ body }) => body.includes(`"operationType":"${operation}"`));
  const chosen = of[Math.floor(of.length / 2)];
  if (chosen === undefined) return;
  say(`\nOne ${operation}${chosen.routingKey === '' ? '' : `, routing key ${chosen.routingKey}`}:`);
  say(pretty(chosen.body));
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
