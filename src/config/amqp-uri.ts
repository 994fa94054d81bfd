/** The heartbeat that an AMQP URI may ask for, which goes before the sink's: whoever waits for missed ones has to know it. */
const MAX_HEARTBEAT_S = 3_600;

/** Undefined where it names none; NaN where that is no number of seconds from 1 to an hour. Without any, a dead link would go unnoticed. */
export function uriHeartbeatMs(uri: string): number | undefined {
  const asked = URL.canParse(uri) ? new URL(uri).searchParams.getAll('heartbeat') : [];
  if (asked.length === 0) return undefined;
  const seconds = asked.length === 1 && /^\d{1,4}$/.test(asked[0]!) ? Number(asked[0]) : 0;
  return seconds >= 1 && seconds <= MAX_HEARTBEAT_S ? seconds * 1000 : NaN;
}
