/**
 * `npm test [FILE, FOLDER or part of a path …]`: builds once, brings up one mongod and one RabbitMQ for all test files, runs
 * them with node:test, which prints the counts last, and ends with its exit code. Node 20's runner knows no patterns and
 * no limit per file, so both are here. Most files spend their time waiting for servers, and go two at a time; what needs the whole
 * machine goes alone.
 */
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.ts';
import { startMongo, startRabbit } from './servers/index.ts';
import { SHARED_MONGO, SHARED_RABBIT } from './servers/with-servers.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** For one test file as a whole; the longest ones kill and restart servers for minutes. */
const FILE_TIMEOUT_MS = 15 * 60_000;

/** Those that look at how long something waits, or bring up a browser, a bench, a Prometheus or a sequence of faults. */
const ALONE = /^test\/(?:bench|console|torture|observe\/prometheus|worker\/(?:pool|thread)|engine\/(?:online|pause))/;
const AT_A_TIME = 2;

const files = await testFiles(process.argv.slice(2).map((path) => relative(ROOT, join(process.cwd(), path))));
if (files.length === 0) {
  console.error(`no test file matches ${process.argv.slice(2).join(' ')}`);
  process.exit(2);
}
await build();
const progress = (line: string): void => console.log(line);
const started = await Promise.allSettled([
  startMongo({ fresh: false, progress }),
  startRabbit({ fresh: false, progress }),
]);
const servers = started.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
try {
  for (const start of started) if (start.status === 'rejected') throw start.reason;
  const [mongo, rabbit] = servers;
  const uris = { [SHARED_MONGO]: mongo?.uri, [SHARED_RABBIT]: rabbit?.uri };
  const together = files.filter((file) => !ALONE.test(file));
  const alone = files.filter((file) => ALONE.test(file));
  const codes = [await run(together, AT_A_TIME, uris), await run(alone, 1, uris)];
  process.exitCode = codes.find((code) => code !== 0) ?? 0;
} finally {
  await Promise.all(servers.map(async (server) => server.stop()));
}

async function run(some: readonly string[], atATime: number, env: NodeJS.ProcessEnv): Promise<number> {
  if (some.length === 0) return 0;
  const options = [`--test-concurrency=${atATime}`, `--test-timeout=${FILE_TIMEOUT_MS}`];
  const report = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
  return await inherit(process.execPath, ['--import', 'tsx', '--test', ...options, ...report, ...some], env);
}

async function testFiles(parts: readonly string[]): Promise<string[]> {
  const names = await readdir(join(ROOT, 'test'), { recursive: true });
  const all = names.filter((name) => name.endsWith('.test.ts')).map((name) => join('test', name));
  return all.filter((file) => parts.length === 0 || parts.some((part) => file.includes(part))).toSorted();
}

function inherit(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } });
    const pass = (signal: NodeJS.Signals) => (): void => {
      child.kill(signal);
    };
    const onInt = pass('SIGINT');
    const onTerm = pass('SIGTERM');
    process.on('SIGINT', onInt).on('SIGTERM', onTerm);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      process.off('SIGINT', onInt).off('SIGTERM', onTerm);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
