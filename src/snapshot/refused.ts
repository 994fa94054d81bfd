/** What a snapshot is asked of, and cannot have one: refused where it is named, passed over where a pattern takes it in. */
import { BSON } from 'mongodb';
import type { Document } from 'mongodb';
import { NotNowError, UserError } from '../errors.ts';
import { AnyOf } from '../source/any-of.ts';
import { codeOf, reasonOf } from '../source/failures.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { CollectionReads } from '../source/collection-reads.ts';
import type { Source } from '../source/source.ts';

export interface AskedFor {
  readonly source: Pick<Source, 'name' | 'collections'>;
  readonly config: SubscriptionConfig;
  /** Patterns; undefined: all that the subscription follows. */
  readonly namespaces?: readonly string[] | undefined;
  /** A query, as Extended JSON. */
  readonly filter?: string | undefined;
}

const ANSWER_MS = 20_000;
/** What the server says of a query that is none: BadValue, FailedToParse, TypeMismatch, and of expressions. */
const NO_QUERY: ReadonlySet<number> = new Set([2, 9, 14]);
const FIRST_OF_EXPRESSIONS = 10_000;
const NOT_PRIMARY: ReadonlySet<number> = new Set([10_107, 11_600, 11_602, 13_435, 13_436]);

/** Throws `UserError` where it cannot be, and `NotNowError` where MongoDB does not say. */
export async function refuseSnapshot(
  { source, config, namespaces, filter }: AskedFor,
  stop: AbortSignal,
): Promise<void> {
  const { name, collections } = source;
  if (!collections) {
    throw new UserError(
      'usage',
      `Source "${name}" reads a change stream: snapshots need the positions of an oplog (\`mode: oplog\`).`,
    );
  }
  using soon = new AnyOf([stop]).within(ANSWER_MS, new Error('no answer in time'));
  try {
    const query = filter === undefined ? undefined : parsed(filter);
    const ns = (namespaces || query) && (await firstOf({ collections, config, namespaces }, soon.signal));
    if (ns !== undefined && query) await refuseQuery(collections, ns, query, soon.signal);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new NotNowError(`Source "${name}" cannot be asked now: ${reasonOf(error)}.`);
  }
}

/** A collection that is to be read; undefined where there is none, and none is named. */
async function firstOf(
  {
    collections,
    config,
    namespaces,
  }: Pick<AskedFor, 'config' | 'namespaces'> & { readonly collections: CollectionReads },
  stop: AbortSignal,
): Promise<string | undefined> {
  const follows = compilePatterns(config.namespaces);
  const patterns = namespaces ?? config.namespaces;
  const { found } = await collections.list({ matches: compilePatterns(patterns), patterns }, stop);
  const other = found.find(({ ns, kind }) => kind !== 'collection' && namespaces?.includes(ns));
  if (other) {
    const what = other.kind === 'view' ? 'a view' : 'a time-series collection';
    throw new UserError('usage', `${other.ns} is ${what}: it has no changes, and so no snapshot beside them.`);
  }
  const wanted = found.find(({ ns, kind }) => kind === 'collection' && follows(ns));
  if (wanted || !namespaces) return wanted?.ns;
  throw new UserError(
    'usage',
    `There is no collection that subscription "${config.name}" follows and that matches ${namespaces.join(', ')}.`,
  );
}

function parsed(filter: string): Document {
  try {
    const query: Document = BSON.EJSON.parse(filter, { relaxed: false });
    refuseValues(JSON.parse(filter));
    return query;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError('usage', `The filter is no Extended JSON: ${reasonOf(error)}.`);
  }
}

/** Whole numbers that are none, of which the parser makes 0; and programs, which the server would run for each document. */
function refuseValues(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, one] of Object.entries(value)) {
    if ((name === '$numberInt' || name === '$numberLong') && !/^-?\d+$/.test(String(one))) {
      throw new UserError(
        'usage',
        `The filter is no Extended JSON: ${name} ${JSON.stringify(one)} is no whole number.`,
      );
    }
    if (name === '$where' || name === '$function') {
      throw new UserError('usage', `A filter may not have a program for the server to run (\`${name}\`).`);
    }
    refuseValues(one);
  }
}

async function refuseQuery(
  collections: CollectionReads,
  ns: string,
  query: Document,
  stop: AbortSignal,
): Promise<void> {
  try {
    await collections.checkQuery(ns, query, stop);
  } catch (error) {
    const code = codeOf(error) ?? 0;
    if (!NO_QUERY.has(code) && (code < FIRST_OF_EXPRESSIONS || NOT_PRIMARY.has(code))) throw error;
    throw new UserError('usage', `MongoDB does not take the filter for a query: ${reasonOf(error)}.`);
  }
}
