/** How the API calls a parked event. */
import { z } from 'zod';
import { MOMENT_EXPECTED, parseMoment } from '../checkpoint/parked-filter.ts';
import type { ParkedFilter } from '../checkpoint/parked-filter.ts';
import { parkedKeySchema } from '../checkpoint/parked-key.ts';
import type { ParkedKey } from '../checkpoint/parked-key.ts';
import { parkReason } from './schemas.ts';

/** An event may be parked for several subscriptions, and beside its whole entry: its `_id` alone does not name it. */
export function idOf(key: ParkedKey): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

/** Undefined where it is none. */
export function keyOf(id: string): ParkedKey | undefined {
  try {
    return parkedKeySchema.parse(JSON.parse(Buffer.from(id, 'base64url').toString()));
  } catch {
    return undefined;
  }
}

/** `whose`: what such an id is one of. */
export function parkedId(whose: string) {
  return z.string({ error: whose }).refine((id) => keyOf(id) !== undefined, { error: whose });
}

/** In a query as in a body. */
export const parkedFilter = {
  subscription: z.string().optional().meta({ description: 'Only of this subscription, configured or not.' }),
  reason: parkReason.optional().meta({ description: 'Only for this reason.' }),
  since: moment('Only events at or after it'),
  until: moment('Only events before it'),
  after: parkedId('`next` of the page before').optional().meta({ description: '`next` of the page before.' }),
};

function moment(description: string) {
  return z
    .string({ error: MOMENT_EXPECTED })
    .refine((written) => parseMoment(written) !== undefined, { error: MOMENT_EXPECTED })
    .optional()
    .meta({ description: `${description}: ${MOMENT_EXPECTED}.` });
}

interface Asked {
  readonly subscription?: string | undefined;
  readonly reason?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

export function filterOf({ subscription, reason, since, until }: Asked): ParkedFilter {
  return {
    subscription,
    reason,
    since: since === undefined ? undefined : parseMoment(since),
    until: until === undefined ? undefined : parseMoment(until),
  };
}
