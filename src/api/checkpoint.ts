/** `/checkpoint`: what `tailrace checkpoint show --json` says, of the engine that answers. */
import { z } from 'zod';
import { shownCheckpoint, shownGap } from '../checkpoint/shown.ts';
import { endpoint, NOTHING } from './endpoint.ts';
import { checkpointAnswer, gapAnswer } from './schemas.ts';

/** They outlive the process, and may be many. */
const MOST_GAPS = 500;

export const checkpointEndpoint = endpoint({
  path: '/checkpoint',
  operationId: 'getCheckpoint',
  tag: 'checkpoint',
  summary: 'Where each subscription stands, and the gaps: changes that were not delivered and never will be.',
  parameters: NOTHING,
  query: NOTHING,
  answer: z.strictObject({
    subscriptions: z.array(checkpointAnswer),
    gaps: z.array(gapAnswer).meta({ description: `The newest ${MOST_GAPS}, oldest first.` }),
    gapsOnRecord: z.int().min(0),
  }),
  handle({ config, checkpoints }) {
    const configured = new Set(config.subscriptions.map(({ name }) => name));
    const records = checkpoints.all().sort((a, b) => (a.subscription < b.subscription ? -1 : 1));
    const gaps = checkpoints.gaps();
    return {
      subscriptions: records.map((record) => shownCheckpoint(record, configured)),
      gaps: gaps.slice(-MOST_GAPS).map(shownGap),
      gapsOnRecord: gaps.length,
    };
  },
});
