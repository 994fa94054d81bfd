/** `/health`: what `/readyz` and `/healthz` say, each reason with its code, so that whoever reads it can be told what to do. */
import { z } from 'zod';
import { endpoint, NOTHING } from './endpoint.ts';
import { reasonAnswer } from './schemas.ts';

export const healthEndpoint = endpoint({
  path: '/health',
  operationId: 'getHealth',
  tag: 'health',
  summary: 'Why the engine is not delivering, or cannot go on: each reason with its code.',
  parameters: NOTHING,
  query: NOTHING,
  answer: z.strictObject({
    ready: z.boolean().meta({ description: 'Whether `/readyz` answers 200.' }),
    live: z.boolean().meta({ description: 'Whether `/healthz` answers 200.' }),
    reasons: z.array(reasonAnswer).meta({ description: 'Empty while it delivers.' }),
    stuck: z.array(reasonAnswer).meta({ description: 'Why only a restart helps; empty while it works.' }),
  }),
  handle({ readiness, liveness }) {
    const reasons = [...readiness()];
    const stuck = [...liveness()];
    return { ready: reasons.length === 0, live: stuck.length === 0, reasons, stuck };
  },
});
