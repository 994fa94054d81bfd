/** What a server says of itself, in our own words. Anyone may ask for it, logged in or not. */
import { Timestamp } from 'mongodb';
import type { Document } from 'mongodb';
import type { OpTime, Ts } from './position.ts';

export interface Hello {
  /** `uninitiated`: started for a replica set that has not been set up yet. */
  readonly kind: 'member' | 'standalone' | 'mongos' | 'uninitiated';
  readonly setName: string;
  /** Its name in the set's configuration. */
  readonly me: string;
  readonly role: 'primary' | 'secondary' | 'other';
  /** All members that hold data and are not hidden. */
  readonly hosts: readonly string[];
  /** Both are undefined before the first write. */
  readonly newest: OpTime | undefined;
  readonly majority: OpTime | undefined;
}

export function parseHello(reply: Document): Hello {
  return {
    kind: kindOf(reply),
    setName: typeof reply['setName'] === 'string' ? reply['setName'] : '',
    me: typeof reply['me'] === 'string' ? reply['me'] : '',
    role: reply['isWritablePrimary'] === true ? 'primary' : reply['secondary'] === true ? 'secondary' : 'other',
    hosts: [...strings(reply['hosts']), ...strings(reply['passives'])],
    newest: opTimeOf(reply['lastWrite']?.opTime),
    majority: opTimeOf(reply['lastWrite']?.majorityOpTime),
  };
}

function kindOf(reply: Document): Hello['kind'] {
  if (typeof reply['setName'] === 'string') return 'member';
  if (reply['msg'] === 'isdbgrid') return 'mongos';
  return reply['isreplicaset'] === true ? 'uninitiated' : 'standalone';
}

/** From a document with `ts` and `t`; undefined for the zero time of a set without writes. */
export function opTimeOf(value: unknown): OpTime | undefined {
  if (typeof value !== 'object' || value === null || !('ts' in value)) return undefined;
  const { ts } = value;
  // The driver's Timestamp calls its halves t (seconds) and i (increment).
  if (!(ts instanceof Timestamp) || ts.t === 0) return undefined;
  return { ts: { seconds: ts.t, increment: ts.i }, t: 't' in value ? Number(value.t) : -1 };
}

/** What an answer shows is not newer. */
export function operationTimeOf(reply: Document): Ts | undefined {
  const time: unknown = reply['operationTime'];
  return time instanceof Timestamp ? { seconds: time.t, increment: time.i } : undefined;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}
