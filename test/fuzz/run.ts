/** `npm run fuzz -- --cases 1000000 [--seed N] [--only TARGET [--round N]]`: exit code 1 where anything was found. */
import { parseArgs } from 'node:util';
import { fuzz } from './campaign.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    round: { type: 'string' },
  },
});
const cases = Number(values.cases);
const seed = Number(values.seed);
const started = performance.now();
const result = await fuzz({
  cases,
  seed,
  only: values.only,
  round: values.round === undefined ? undefined : Number(values.round),
  roundTimeoutMs: 20_000,
  tell: (line) => console.log(line),
});
for (const finding of result.findings) console.error(`\nFOUND: ${finding}`);
const seconds = Math.round((performance.now() - started) / 1000);
console.log(`\nfuzz: seed ${seed}, ${result.cases} cases in ${seconds} s, ${result.findings.length} findings`);
process.exitCode = result.findings.length > 0 || result.cases === 0 ? 1 : 0;
