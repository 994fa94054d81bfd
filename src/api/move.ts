/** `/subscriptions/{name}/move`: where a subscription reads on, as `tailrace checkpoint set` sets it, while the others go on. */
import { z } from 'zod';
import { planMove } from '../check/move.ts';
import type { Move } from '../check/move.ts';
import { OneAtATime } from '../check/one-at-a-time.ts';
import { lookAtStart } from '../check/source-look.ts';
import { parseStart } from '../config/start.ts';
import { NotNowError } from '../errors.ts';
import { formatTs, isoTime } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import { asConflict } from './conflict.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';

const POSITION = 'latest, earliest, an ISO date, or seconds:increment for what came after it';

const turn = new OneAtATime('A subscription is being moved');

const place = () => z.strictObject({ position: z.string(), time: z.string().meta({ format: 'date-time' }) });

export const moveEndpoint = endpoint({
  method: 'post',
  path: '/subscriptions/{name}/move',
  operationId: 'moveSubscription',
  tag: 'subscriptions',
  summary: 'Has a subscription read on from another position, and says what that skips or repeats.',
  description:
    'The position is held against the source first: what is not in its oplog, or lies in the future, is refused. The others go on; a paused one stays paused. A skip leaves a gap record.',
  problems: ['api-not-found', 'api-conflict'],
  parameters: z.strictObject({ name: z.string().meta({ description: 'As it is called in the configuration.' }) }),
  query: NOTHING,
  body: z.strictObject({
    position: z
      .string({ error: POSITION })
      .refine((written) => written !== 'snapshot' && parseStart(written) !== undefined, { error: POSITION })
      .meta({ description: `Where to: ${POSITION}.` }),
    dryRun: z.boolean().default(false).meta({ description: 'Only say what it would do.' }),
  }),
  answer: z.strictObject({
    name: z.string(),
    dryRun: z.boolean(),
    from: place().nullable().meta({ description: 'Where it stands; null where it has no checkpoint yet.' }),
    to: place(),
    seconds: z.int().nullable().meta({ description: 'From the one to the other; negative where it goes back.' }),
    effect: z.enum(['none', 'skipped', 'repeated']).meta({
      description:
        'What becomes of what was written between the two: `skipped` is never delivered, `repeated` once more.',
    }),
  }),
  async handle(view, { path: { name }, body: { position, dryRun } }) {
    const { config, checkpoints } = view;
    const subscription = found(
      'subscription',
      name,
      config.subscriptions.find((one) => one.name === name),
    );
    const source = config.sources.find((one) => one.name === subscription.source)!;
    const start = parseStart(position)!;
    const work = turn.run(async () => {
      const look = await lookAtStart(config, source, start);
      if (look.kind === 'unreachable') {
        throw new NotNowError(
          `Source "${source.name}" cannot be reached, so nobody knows whether it has that position.`,
        );
      }
      const planned = (stored = checkpoints.get(name)): Move => planMove({ config, subscription, stored, look }, start);
      return dryRun ? planned() : await view.move(name, planned);
    });
    const { record, from, effect } = await asConflict(work);
    const to = record.resume.ts;
    return {
      name,
      dryRun,
      from: from === undefined ? null : shown(from),
      to: shown(to),
      seconds: from === undefined ? null : to.seconds - from.seconds,
      effect,
    };
  },
});

function shown(ts: Ts): z.input<ReturnType<typeof place>> {
  return { position: formatTs(ts), time: isoTime(ts) };
}
