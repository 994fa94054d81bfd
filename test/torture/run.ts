/**
 * `npm run torture`: every case in its long form, one after another, and in its short one on every other server version that can be
 * had where versions matter. Takes hours.
 *
 *     --seed N     the same chances again; cases that this seed has passed already are left out
 *     --cases TEXT only those with this text in their end or name
 *     --short      the form that `npm test` runs, on the servers at hand
 *     --list       says what there is, and runs nothing
 *     --table      writes the table in the README, from all results there are, and runs nothing
 */
import { parseArgs } from 'node:util';
import { build } from '../build.ts';
import { OLDER_VERSIONS, ServersUnavailable } from '../servers/index.ts';
import { Arena, Servers, seedOf } from './arena.ts';
import { CannotRun } from './case.ts';
import { CASES } from './cases/index.ts';
import { Results, writeTable } from './results.ts';
import { Broken } from './trial.ts';
import type { TortureCase } from './case.ts';
import type { Result } from './results.ts';

interface Variant {
  /** '' for the servers at hand. */
  readonly on: string;
  readonly servers: Servers;
}

const NEWER_RABBIT = '4.0';
const OLDER_MONGODS = OLDER_VERSIONS.filter((version) => version.startsWith('5.'));

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    cases: { type: 'string', default: '' },
    short: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
});
const chosen = CASES.filter(({ end, name }) => `${end}: ${name}`.toLowerCase().includes(values.cases.toLowerCase()));

if (values.list) for (const { end, name } of chosen) console.log(`${end}: ${name}`);
else if (values.table) console.log(await writeTable(CASES));
else process.exitCode = await torture();

async function torture(): Promise<number> {
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1e9) : Number(values.seed);
  await build();
  const results = await Results.of(seed, values.short ? 'short' : 'long');
  console.log(`seed ${seed}; results in ${results.path}`);
  let failures = 0;
  for (const { variant, cases } of rounds()) {
    await using servers = variant.servers;
    for (const one of cases) {
      if (results.has(one, variant.on)) continue;
      const result = await run(one, { ...variant, servers, seed });
      console.log(summary(result));
      if (result.failed !== undefined) failures++;
      await results.add(result);
    }
  }
  console.log(failures === 0 ? 'Every promise was kept.' : `${failures} cases failed; again with --seed ${seed}.`);
  return failures === 0 ? 0 : 1;
}

/** All cases on what is at hand, then those of each end on its other versions. */
function rounds(): { readonly variant: Variant; readonly cases: readonly TortureCase[] }[] {
  const of = (end: 'MongoDB' | 'RabbitMQ'): TortureCase[] => chosen.filter(({ versionsOf }) => versionsOf === end);
  const first = { variant: { on: '', servers: new Servers() }, cases: chosen };
  if (values.short) return [first];
  return [
    first,
    ...OLDER_MONGODS.map((mongo) => ({
      variant: { on: `mongod ${mongo}`, servers: new Servers({ mongo }) },
      cases: of('MongoDB'),
    })),
    {
      variant: { on: `RabbitMQ ${NEWER_RABBIT}`, servers: new Servers({ rabbit: NEWER_RABBIT }) },
      cases: of('RabbitMQ'),
    },
  ];
}

async function run(one: TortureCase, { on, servers, seed }: Variant & { readonly seed: number }): Promise<Result> {
  const { end, name } = one;
  console.log(`\n${end}: ${name}${on === '' ? '' : ` (${on})`}`);
  const began = performance.now();
  const base = { case: name, end, on };
  const elapsed = (): number => Math.round((performance.now() - began) / 1_000);
  const arena = new Arena({
    // What differs between versions shows in a minute.
    size: values.short || on !== '' ? 'short' : 'long',
    seed: seedOf(seed, `${end}: ${name}${on}`),
    servers,
    say: (line) => console.log(`  ${line}`),
  });
  try {
    await using own = arena;
    const outcome = await one.run(own);
    return { ...base, seconds: elapsed(), outcome };
  } catch (error) {
    if (error instanceof CannotRun || error instanceof ServersUnavailable) {
      return { ...base, seconds: elapsed(), cannot: error.message };
    }
    console.log(error);
    // The rest is the engine's log and this machine's paths: of no use to those who read results.
    const [failed = ''] = String(error).split('\n');
    return { ...base, seconds: elapsed(), failed, ...(error instanceof Broken && { outcome: error.outcome }) };
  }
}

function summary({ outcome, failed, cannot, seconds }: Result): string {
  const numbers = outcome === undefined ? '' : ` ${JSON.stringify(outcome)}`;
  if (cannot !== undefined) return `  not run: ${cannot}`;
  return failed === undefined
    ? `  kept in ${seconds} s:${numbers}`
    : `  FAILED after ${seconds} s:${numbers} ${failed}`;
}
