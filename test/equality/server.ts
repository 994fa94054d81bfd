/** The mongod that comparisons run against. */
import { startMongo } from '../servers/index.ts';
import type { MongoOptions, MongoServer } from '../servers/index.ts';

/** Transactions of more operations take several oplog entries, without the 16 MB that this takes otherwise. */
const OPERATIONS_AN_ENTRY = 4;

export async function startCompared({ args = [], ...options }: MongoOptions = {}): Promise<MongoServer> {
  const parameters = ['--setParameter', `maxNumberOfTransactionOperationsInSingleOplogEntry=${OPERATIONS_AN_ENTRY}`];
  return await startMongo({ ...options, args: [...parameters, ...args] });
}
