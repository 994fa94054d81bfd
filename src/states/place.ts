/** The last entry that is done, where something stands. */
import { compareTs } from '../source/position.ts';
import { floorOf } from '../lanes/floors.ts';
import type { SubscriptionFloor } from '../lanes/floors.ts';
import type { OpTime } from '../source/position.ts';

export function placeOf({ resume, watermark }: Omit<SubscriptionFloor, 'lanes'>): OpTime {
  const { ts } = floorOf({ resume, watermark });
  const known = [watermark, resume.kind === 'after' ? resume : undefined].find(
    (one) => one !== undefined && compareTs(one.ts, ts) === 0,
  );
  return { ts, t: known?.t ?? -1 };
}
