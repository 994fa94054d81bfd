/** What lanes come to, and where the path of the data is held up, in a sentence. */
import type { Rates } from '../history.ts';
import type { StatusReport, SubscriptionStatus } from '../types.ts';

interface Sums {
  readonly queued: number;
  readonly unconfirmed: number;
  readonly held: number;
}

export function summed(lanes: SubscriptionStatus['lanes']): Sums {
  let [queued, unconfirmed, held] = [0, 0, 0];
  for (const lane of lanes) {
    queued += lane.queued;
    unconfirmed += lane.unconfirmed;
    if (lane.held) held += 1;
  }
  return { queued, unconfirmed, held };
}

/** Above it the main thread has no time left to give. */
const BUSY = 0.95;
/** Behind by more than this, something is the slowest part. */
const BEHIND_SECONDS = 5;

/** Undefined: nothing is. From the end of the path to its beginning, since what stands at the end holds all before it. */
export function heldUpBy(
  { sinks, subscriptions, sources }: StatusReport,
  rates: Rates | undefined,
): string | undefined {
  for (const [name, { blocked, state }] of Object.entries(sinks)) {
    if (blocked !== null) return `RabbitMQ "${name}" takes no messages: ${blocked}.`;
    if (state !== 'connected') return `Sink "${name}" is ${state}.`;
  }
  for (const [name, { lanes }] of Object.entries(subscriptions)) {
    const held = lanes.find((lane) => lane.held)?.held;
    if (held) return `The lanes of "${name}" are held, ${held.reason}: ${held.detail}.`;
  }
  for (const [name, { state }] of Object.entries(sources)) {
    if (state !== 'reading' && state !== 'held' && state !== 'idle')
      return `Source "${name}" is ${state.replaceAll('_', ' ')}.`;
  }
  const late = Object.entries(subscriptions).find(
    ([, { state, lagSeconds }]) => state !== 'paused' && (lagSeconds ?? 0) > BEHIND_SECONDS,
  );
  if (!late) return undefined;
  if ((rates?.mainBusy ?? 0) > BUSY) return 'The main thread is busy all the time: it is the limit now.';
  const holder = Object.entries(sources).find(([, { heldBy }]) => heldBy.length > 0);
  if (holder) return `Reading "${holder[0]}" waits for confirms of "${holder[1].heldBy.join('", "')}".`;
  return `"${late[0]}" is catching up.`;
}
