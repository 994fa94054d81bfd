/**
 * `npm run equality -- --operations 1000000 [--seed N] [--no-ddl] [--no-large] [--uri URI | --server 4.4.2]`: the comparison at length.
 * `npm run equality -- --replay SEED --operations N --steps 3,8-10`: those steps of one round, as a failure printed them.
 * `--modes oplog,changeStream`: each restart of ours goes on in the next mode.
 */
import { parseArgs } from 'node:util';
import { campaign } from './campaign.ts';
import type { Mode } from './engine-listener.ts';
import { failureReport, numbersOf, summary } from './report.ts';
import { startCompared } from './server.ts';
import { shrink, tryOnce } from './shrink.ts';
import { DATABASES, stepsOf } from './steps.ts';

const { values } = parseArgs({
  allowNegative: true,
  options: {
    operations: { type: 'string', default: '50000' },
    seed: { type: 'string' },
    replay: { type: 'string' },
    steps: { type: 'string' },
    ddl: { type: 'boolean', default: true },
    large: { type: 'boolean', default: true },
    expanded: { type: 'boolean', default: true },
    errors: { type: 'boolean', default: false },
    uri: { type: 'string' },
    server: { type: 'string' },
    modes: { type: 'string', default: 'oplog' },
  },
});
const { ddl, large, expanded } = values;
const modes = values.modes.split(',') as Mode[];
const operations = Number(values.operations);
const server = values.server === undefined ? {} : { version: values.server };
const mongo = values.uri === undefined ? await startCompared({ ...server, progress: console.log }) : undefined;
const uri = values.uri ?? mongo!.uri;
try {
  process.exitCode = values.replay === undefined ? await atLength() : await again(Number(values.replay));
} finally {
  await mongo?.stop();
}

async function atLength(): Promise<number> {
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed);
  const began = Date.now();
  console.log(`seed ${seed}`);
  const result = await campaign({
    uri,
    seed,
    operations,
    ddl,
    large,
    expanded,
    modes,
    progress: (line) => console.log(`${Math.round((Date.now() - began) / 1000)} s: ${line}`),
  });
  console.log(summary(result));
  if (values.errors) for (const [text, count] of result.errors) console.log(`${count} × ${text}`);
  if (result.failure === undefined) {
    console.log('0 differences');
    return 0;
  }
  console.log(
    failureReport(result.failure, await shrink(result.failure, { uri, ddl, expanded, modes, withinMs: 120_000 })),
  );
  return 1;
}

async function again(seed: number): Promise<number> {
  const all = stepsOf({ seed, operations, ddl, large });
  const steps =
    values.steps === undefined ? all.map((_, number) => number).slice(DATABASES.length) : numbersOf(values.steps);
  const chosen = [...DATABASES.map((_, number) => number), ...steps].map((number) => all[number]!);
  const differences = await tryOnce({ uri, ddl, expanded, modes }, chosen);
  if (differences.length === 0) {
    console.log(`0 differences in ${steps.length} steps`);
    return 0;
  }
  const failure = { workload: { seed, operations, ddl, large }, differences };
  console.log(failureReport(failure, { steps, differences }));
  return 1;
}
