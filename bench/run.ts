/**
 * `npm run bench -- SCENARIO [OPTIONS]`: the suite's one entrance. Without a scenario it lists them; `all` runs every one with its
 * defaults, each in a process of its own, so that neither a failure nor what it leaves in memory reaches the next.
 */
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endToEnd } from './end-to-end.ts';
import { encode } from './encode.ts';
import { engine } from './engine.ts';
import { blockedSink } from './blocked-sink.ts';
import { OptionFault, wordsOfOptions } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { idle } from './idle.ts';
import { images } from './images.ts';
import { latency } from './latency.ts';
import { limits } from './limits.ts';
import { memory } from './memory.ts';
import { peers } from './peers.ts';
import { restart } from './restart.ts';
import { slowQueue } from './slow-queue.ts';
import { snapshot } from './snapshot.ts';
import { watching } from './watching.ts';

/** In the order in which `all` runs them. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  limits,
  encode,
  engine,
  'end-to-end': endToEnd,
  peers,
  'slow-queue': slowQueue,
  'blocked-sink': blockedSink,
  latency,
  memory,
  restart,
  snapshot,
  idle,
  watching,
  images,
};

const [name, ...rest] = process.argv.slice(2);
const { json, args } = withoutJson(rest);
const chosen = name === undefined ? undefined : SCENARIOS[name];

if (name === undefined || name === '--help' || name === '-h') console.log(usage());
else if (name === 'all') await everything(json ?? 'bench-results');
else if (chosen === undefined) fail(`There is no scenario "${name}".\n\n${usage()}`);
else if (args.includes('--help') || args.includes('-h')) console.log(usageOf(name, chosen));
else {
  try {
    await one(name, chosen);
  } catch (error) {
    if (!(error instanceof OptionFault)) throw error;
    fail(`${error.message}\n\n${usageOf(name, chosen)}`);
  }
}

async function one(scenarioName: string, { run }: Scenario): Promise<void> {
  const began = new Date();
  const { options, result } = await run(args);
  if (json === undefined) return;
  const seconds = Math.round((Date.now() - began.getTime()) / 1_000);
  const record = { scenario: scenarioName, began: began.toISOString(), seconds, options, ...result };
  await mkdir(dirname(resolve(json)), { recursive: true });
  await writeFile(json, `${JSON.stringify(record, null, 2)}\n`);
  console.log(`\nWritten to ${json}`);
}

/** One after the other; the exit code tells whether all of them came to their end. */
async function everything(folder: string): Promise<void> {
  const failed: string[] = [];
  for (const scenarioName of Object.keys(SCENARIOS)) {
    console.log(`\n━━ ${scenarioName} ━━\n`);
    if (!(await inProcess([scenarioName, '--json', join(folder, `${scenarioName}.json`)]))) failed.push(scenarioName);
  }
  if (failed.length > 0) fail(`\nFailed: ${failed.join(', ')}`);
}

async function inProcess(scenarioArgs: readonly string[]): Promise<boolean> {
  const argv = ['--import', 'tsx', fileURLToPath(import.meta.url), ...scenarioArgs];
  const child = spawn(process.execPath, argv, { stdio: 'inherit' });
  return new Promise((done) => child.once('exit', (code) => done(code === 0)));
}

/** `--json FILE` is every scenario's, so it is taken out before the scenario reads the rest. */
function withoutJson(all: readonly string[]): { json: string | undefined; args: string[] } {
  const at = all.indexOf('--json');
  if (at === -1) return { json: undefined, args: [...all] };
  return { json: all[at + 1], args: all.toSpliced(at, 2) };
}

function usage(): string {
  const lines = Object.entries(SCENARIOS).map(
    ([scenarioName, { words, minutes }]) => `  ${scenarioName.padEnd(14)} ${words} (${minutes} min)`,
  );
  return `usage: npm run bench -- SCENARIO [OPTIONS]

scenarios
${lines.join('\n')}
  all            each of them in turn; --json names a folder then (bench-results)

options
  --json FILE    the results for machines as well
  --help         behind a scenario: its own options

docs/benchmarks.md says how each works and what it does not measure. MONGODB_URI and AMQP_URI name servers of your own.`;
}

function usageOf(scenarioName: string, { words, options }: Scenario): string {
  return `usage: npm run bench -- ${scenarioName} [OPTIONS]

${words}

options
${[...wordsOfOptions(options), `  ${'--json FILE'.padEnd(24)} the results for machines as well`].join('\n')}`;
}

function fail(words: string): void {
  console.error(words);
  process.exitCode = 2;
}
