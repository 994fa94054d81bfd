/**
 * Scenario: the same load through Tailrace and through what others use, each with the settings that are best for it: `watch()` with
 * amqplib, and Debezium Server where Java and Maven are there. All of them put one event a message into one durable classic queue,
 * persistent and confirmed; Tailrace runs besides as one would run it, with a queue per partition and batched. Where we lose is said.
 *
 * Not run: Redpanda Connect, whose `mongodb_cdc` asks for an enterprise licence.
 */
import { baseline, tailrace } from './contenders.ts';
import type { Contender } from './contenders.ts';
import { contest } from './contest.ts';
import type { Entrant, Figures, Ground } from './contest.ts';
import { DEBEZIUM_VERSIONS, debeziumBinary } from './debezium-binary.ts';
import { debezium } from './debezium.ts';
import { MANY, entrants } from './entrants.ts';
import { atLeast, judged, mebibytes, micros, seconds, thousands, times } from './report.ts';
import { scenario } from './scenario.ts';
import type { Result, Values } from './scenario.ts';

const OPTIONS = {
  entries: { type: 'number', default: 2_400_000, words: 'what batched Tailrace reads; others read a share of it' },
  rounds: { type: 'number', default: 3, words: 'how often each runs' },
  only: { type: 'names', words: 'only these: debezium, or names as in the table' },
  debezium: {
    type: 'names',
    words: `versions of Debezium Server: ${DEBEZIUM_VERSIONS.join(', ')}; all of them by default`,
  },
  limit: { type: 'number', default: 300, words: 'seconds after which a run is given up' },
} as const;

export const peers = scenario({
  words: 'the same load through watch() + amqplib and through Debezium Server, beside Tailrace',
  minutes: 15,
  options: OPTIONS,
  run: peersRun,
});

const ONE_QUEUE = 'bench.one';

async function peersRun(options: Values<typeof OPTIONS>): Promise<Result> {
  const { row, rate, ...outcome } = await contest({
    ...options,
    words: peers.words,
    entrants: async (ground) => {
      const wanted = ({ name }: { readonly name: string }): boolean =>
        options.only.length === 0 || options.only.some((one) => name === one || name.startsWith(`${one}-`));
      const versions = options.debezium.length > 0 ? options.debezium : DEBEZIUM_VERSIONS;
      const debeziums = wanted({ name: 'debezium' }) ? await debeziumsOf(versions, ground) : [];
      const others = [baseline('json'), baseline('ejson'), oneQueue(), ...asOneWould()].filter(wanted);
      return [...debeziums, ...others].map((contender): Entrant => ({ contender }));
    },
  });
  console.log('\nNot run: Redpanda Connect, whose mongodb_cdc asks for an enterprise licence.');
  sayWhereWeLose(
    outcome.runs.map(({ contender }) => contender),
    { row, rate },
  );
  const best = Math.max(
    ...outcome.runs
      .map(({ contender }) => (contender.startsWith('debezium') ? rate(contender) : NaN))
      .filter(Number.isFinite),
  );
  const batched = rate(`classic-${MANY}`);
  const targets = [
    atLeast('batched JSON, classic, times the watch() baseline', 20, batched / rate('baseline'), times),
    atLeast('batched JSON, classic, times Debezium Server at its best', 15, batched / best, times),
  ];
  return { ...outcome, targets: judged(targets.filter(({ measured }) => measured > 0)) };
}

/** Those that can be had. */
async function debeziumsOf(versions: readonly string[], ground: Ground): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const version of versions) {
    try {
      const binary = await debeziumBinary(version, (line) => console.log(line));
      console.log(`Starting Debezium Server ${version} once, for its first position …`);
      contenders.push(await debezium(binary, ground));
    } catch (error) {
      console.log(`Without Debezium Server ${version}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return contenders;
}

/** The same as the peers do: everything into one queue. */
function oneQueue(): Contender {
  return tailrace({
    name: 'tailrace-one-queue',
    words: 'Tailrace, 1 event a message, JSON, one durable classic queue',
    kind: 'orders',
    pace: 'middling',
    queues: [ONE_QUEUE],
    queueType: 'classic',
    framing: 'one',
    subscription: { to: { queue: ONE_QUEUE, queueType: 'classic' } },
  });
}

function asOneWould(): Contender[] {
  const names = new Set(['classic', 'quorum', `classic-${MANY}`]);
  return entrants({ against: undefined, nodeFlags: [] })
    .map(({ contender }) => contender)
    .filter(({ name }) => names.has(name))
    .map((contender) => ({ ...contender, words: `Tailrace, ${contender.words}` }));
}

/** Figure by figure, against the best of the peers. */
function sayWhereWeLose(names: readonly string[], { row }: Figures): void {
  const ours = row('tailrace-one-queue');
  if (ours === undefined) return;
  const figures = [
    {
      what: 'rate',
      written: (value: number) => `${thousands(value)} events/s`,
      more: true,
      of: ours.of((run) => run.steadyRate),
      figure: 'steadyRate',
    },
    {
      what: 'CPU an event',
      written: micros,
      more: false,
      of: ours.of((run) => run.engineMicros),
      figure: 'engineMicros',
    },
    {
      what: 'peak RSS',
      written: mebibytes,
      more: false,
      of: ours.of((run) => run.peakRssBytes),
      figure: 'peakRssBytes',
    },
    {
      what: 'start to first message',
      written: seconds,
      more: false,
      of: ours.of((run) => run.firstSeconds),
      figure: 'firstSeconds',
    },
  ] as const;
  for (const name of new Set(names.filter((one) => /^(debezium|baseline)/.test(one)))) {
    for (const { what, written, more, of, figure } of figures) {
      const its = row(name)!.of((run) => run[figure]);
      if (more ? its > of : its < of)
        console.log(`We lose to ${name} in ${what}: ${written(its)}, ours ${written(of)}`);
    }
  }
}
