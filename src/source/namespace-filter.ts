/**
 * What the server is asked to leave out of an oplog before it sends it (`serverFilter: on`): inserts, updates and deletes of
 * collections that no subscription of the source matches.
 * Invariant: whatever the workers look at passes. Too much does no harm, as they judge everything again; too little would be lost
 * without a sign. So only what is known to be of no use is left out: commands (transactions are commands), no-ops, operations of
 * kinds that this version does not know, and damaged entries without a namespace all come.
 */
import { BSONRegExp } from 'mongodb';
import type { Document } from 'mongodb';
import type { SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import { toTimestamp } from './member.ts';
import type { Ts } from './position.ts';

/** The clauses that let an entry pass, for a cursor that is opened at `at`. */
export type NamespaceFilter = (at: Ts) => readonly Document[];

export interface NamespaceFilterOptions {
  readonly source: string;
  /** Those that read from it. */
  readonly subscriptions: readonly Pick<SubscriptionConfig, 'namespaces' | 'expanded'>[];
  readonly log: Log;
}

/** Views are documents of their database's collection of this name; only expanded events tell of them. */
const VIEWS = new BSONRegExp(String.raw`\.system\.views$`);
/** Also matches entries that have no namespace. */
const DAMAGED = [null, ''];

/** undefined where a subscription wants everything, so that there is nothing to leave out. */
export function namespaceFilter({ source, subscriptions, log }: NamespaceFilterOptions): NamespaceFilter | undefined {
  // What is excluded again comes as well: that is seldom much, and the workers drop it.
  const patterns = new Set(subscriptions.flatMap((one) => one.namespaces.filter((ns) => !ns.startsWith('!'))));
  const everything = [...patterns].find((pattern) => /^\*+(\.\*+)?$/.test(pattern));
  if (everything !== undefined) {
    log.warn(
      { code: 'filter-unused', source, pattern: everything },
      'serverFilter is on, but a subscription wants every namespace: there is nothing to leave out, so the oplog is read without a filter.',
    );
    return undefined;
  }
  const wanted = [...patterns].map((pattern) => (pattern.includes('*') ? toBsonRegExp(pattern) : pattern));
  const views = subscriptions.some(({ expanded }) => expanded) ? [VIEWS] : [];
  const clauses = [{ ns: { $in: [...DAMAGED, ...wanted, ...views] } }, { op: { $nin: ['i', 'u', 'd'] } }];
  // The resume check looks for the very entry that was read last, whosesoever it is.
  return (at) => [...clauses, { ts: toTimestamp(at) }];
}

/** The server's `.` leaves out line ends without `s`. */
function toBsonRegExp(pattern: string): BSONRegExp {
  const parts = pattern.split(/\*+/u).map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|/]/gu, String.raw`\$&`));
  return new BSONRegExp(`^${parts.join('.*')}$`, 's');
}
