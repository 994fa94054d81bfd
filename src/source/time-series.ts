/**
 * Finds time-series collections. MongoDB keeps them as views of packed buckets, and no change stream tells what happens in
 * them; who names one would wait for ever. Best effort: where collections may not be listed, nothing is found.
 */
import type { MongoClient } from 'mongodb';
import { classify } from './failures.ts';

const INTERNAL = new Set(['admin', 'config', 'local']);

/** Of those that match, by name. */
export async function timeSeriesNamespaces(
  client: MongoClient,
  matches: (ns: string) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  for (const database of await databases(client, signal)) {
    if (INTERNAL.has(database)) continue;
    try {
      const options = { nameOnly: true as const, authorizedCollections: true, signal };
      for await (const { name } of client.db(database).listCollections({ type: 'timeseries' }, options)) {
        if (matches(`${database}.${name}`)) found.push(`${database}.${name}`);
      }
    } catch (error) {
      if (classify(error).kind !== 'refused') throw error;
    }
  }
  return found.toSorted();
}

async function databases(client: MongoClient, signal: AbortSignal): Promise<string[]> {
  try {
    const command = { nameOnly: true, authorizedDatabases: true, signal };
    const { databases: listed } = await client.db('admin').admin().listDatabases(command);
    return listed.map(({ name }) => name);
  } catch (error) {
    if (classify(error).kind !== 'refused') throw error;
    return [];
  }
}
