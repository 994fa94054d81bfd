/** `npm run bench -- [SCENARIO]`: runs a scenario by its name. */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { catchUp } from './catch-up.ts';
import type { CatchUpOptions } from './catch-up.ts';
import { encode } from './encode.ts';
import { transaction } from './transaction.ts';

const SCENARIOS: Readonly<Record<string, { readonly words: string; run(options: CatchUpOptions): Promise<unknown> }>> =
  {
    'catch-up': {
      words: 'a backlog in the oplog, delivered from its beginning; beside it watch() + amqplib',
      run: catchUp,
    },
    transaction: {
      words: 'one transaction of --megabytes, read by a consumer while it is delivered: memory above all',
      run: async () => transaction({ megabytes: Number(values.megabytes) }),
    },
    encode: {
      words: 'the transcoder alone, one thread, no servers: an entry in, its event out; takes no options',
      run: async () => encode(),
    },
  };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    json: { type: 'string' },
    entries: { type: 'string', default: '360000' },
    megabytes: { type: 'string', default: '2048' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    against: { type: 'string' },
    profile: { type: 'string' },
  },
});
const [name = 'catch-up'] = positionals;
const scenario = SCENARIOS[name];

if (values.help === true || scenario === undefined) {
  if (scenario === undefined) console.error(`There is no scenario "${name}".`);
  console.log(`usage: npm run bench -- [SCENARIO] [OPTIONS]

scenarios
${Object.entries(SCENARIOS)
  .map(([scenarioName, { words }]) => `  ${scenarioName.padEnd(20)} ${words}`)
  .join('\n')}

options
  --json FILE          the results for machines as well
  --entries N          size of the load (${values.entries})
  --rounds N           how often each contender runs (${values.rounds})
  --megabytes N        size of the transaction (${values.megabytes})
  --only NAME,NAME     only these contenders; "broker" is the bare publisher
  --against CLI.JS     race another build of the engine beside this one
  --profile DIR        leave a CPU profile of each engine and its workers there (slower)`);
  process.exitCode = scenario === undefined ? 2 : 0;
} else {
  const result = await scenario.run({
    entries: Number(values.entries),
    rounds: Number(values.rounds),
    only: values.only.split(',').filter((one) => one !== ''),
    ...(values.against !== undefined && { against: values.against }),
    nodeFlags: values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`],
  });
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(result, null, 2)}\n`);
}
