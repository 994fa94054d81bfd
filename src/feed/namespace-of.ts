/** The namespace of a message's one event, as far as it can be told without much ado: '' where it cannot. */
import { isMapping } from '../config/salvage.ts';
import type { LaneMessage } from '../lanes/port.ts';

/** Each message that is parked is read on the main thread. */
const MOST_BYTES = 64 * 1024;

/** `isPlain`: not compressed. */
export function namespaceOf({ body, events }: Pick<LaneMessage, 'body' | 'events'>, isPlain: boolean): string {
  if (events !== 1 || !isPlain || body.length > MOST_BYTES) return '';
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch {
    // BSON, for one.
    return '';
  }
  if (!isMapping(value)) return '';
  // What is shaped may lack it; a CloudEvent has the event in `data`.
  const ns = value['ns'] ?? (isMapping(value['data']) ? value['data']['ns'] : undefined);
  if (!isMapping(ns) || typeof ns['db'] !== 'string') return '';
  return typeof ns['coll'] === 'string' ? `${ns['db']}.${ns['coll']}` : ns['db'];
}
