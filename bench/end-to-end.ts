/**
 * Scenario: what Tailrace delivers end to end, over queue types, formats, sizes of messages and of documents, beside the broker's own
 * limit and the `watch()` baseline. `contest.ts` says how they race, `entrants.ts` lists them.
 */
import { contest } from './contest.ts';
import type { Figures } from './contest.ts';
import { GROUPS, MANY, entrants } from './entrants.ts';
import type { Listed } from './entrants.ts';
import { atLeast, atMost, judged, mebibytes, micros, times } from './report.ts';
import type { Target } from './report.ts';
import { OptionFault, scenario } from './scenario.ts';
import type { Result, Values } from './scenario.ts';

const OPTIONS = {
  entries: { type: 'number', default: 2_400_000, words: 'what a batched contender reads; others read a share of it' },
  rounds: { type: 'number', default: 3, words: 'how often each contender runs' },
  group: { type: 'names', words: `of contenders: ${GROUPS.join(', ')}; core where none is named` },
  only: { type: 'names', words: 'these contenders, of whatever group' },
  rabbit: { type: 'text', words: 'another RabbitMQ than the one at hand: 4.0' },
  limit: { type: 'number', default: 120, words: 'seconds after which a run is given up' },
  against: { type: 'text', words: 'race the cli.js of another build beside this one' },
  profile: { type: 'text', words: 'leave a CPU profile of each engine and its workers in this folder (slower)' },
} as const;

type EndToEndOptions = Values<typeof OPTIONS>;

export const endToEnd = scenario({
  words: 'real mongod to real RabbitMQ, from a backlog; beside it the bare publisher and watch() + amqplib',
  minutes: 10,
  options: OPTIONS,
  run: endToEndRun,
});

async function endToEndRun(options: EndToEndOptions): Promise<Result> {
  const chosen = choice(options);
  const { row, rate, ...outcome } = await contest({
    ...options,
    words: endToEnd.words,
    entrants: async () => chosen,
  });
  return { ...outcome, targets: judged(targetsOf(chosen, { row, rate })) };
}

function choice({ only, group, against, profile }: EndToEndOptions): Listed[] {
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const all = entrants({ against, nodeFlags });
  const names = new Set(all.map(({ contender }) => contender.name));
  const unknown = [...only.filter((one) => !names.has(one)), ...group.filter((one) => !GROUPS.includes(one))];
  if (unknown.length > 0) {
    throw new OptionFault(`there is no ${unknown.join(', ')}. Contenders are ${[...names].join(', ')}`);
  }
  const groups = group.length === 0 && only.length === 0 ? ['core'] : group;
  return all.filter(
    (one) => only.includes(one.contender.name.split('~')[0]!) || one.groups.some((its) => groups.includes(its)),
  );
}

/** Only those for which something was measured. */
function targetsOf(chosen: readonly Listed[], { row, rate }: Figures): Target[] {
  const name = `classic-${MANY}`;
  const targets = [
    atLeast('batched JSON, classic, events/s', 220_000, rate(name)),
    atLeast('batched JSON, classic, times the watch() baseline', 20, rate(name) / rate('baseline'), times),
    atLeast('batched BSON, classic, events/s', 300_000, rate(`${name}-bson`)),
    atLeast('one event a message, quorum, events/s', 35_000, rate('quorum')),
    atLeast('one hot collection to sixteen, batched', 0.9, rate(`hot-${MANY}`) / rate(name), times),
    atLeast('one hot collection to sixteen, one event a message', 0.9, rate('hot') / rate('classic'), times),
  ];
  for (const { contender, bare } of chosen) {
    const its = row(contender.name);
    if (its === undefined || contender.name.startsWith('baseline')) continue;
    if (bare !== undefined) {
      targets.push(
        atLeast(`${contender.name}, to the bare publisher`, 0.9, rate(contender.name) / rate(bare.name), times),
      );
    }
    if (contender.kind === 'orders' || contender.kind === 'hot') {
      const wanted = contender.framing === 'one' ? 15 : 5;
      targets.push(
        atMost(
          `${contender.name}, CPU an event`,
          wanted,
          its.of((run) => run.engineMicros),
          micros,
        ),
      );
    }
    targets.push(
      atMost(
        `${contender.name}, peak RSS`,
        256 * 2 ** 20,
        its.of((run) => run.peakRssBytes),
        mebibytes,
      ),
    );
  }
  return targets.filter(({ measured }) => !Number.isNaN(measured));
}
