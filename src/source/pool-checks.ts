/**
 * The driver looks ten times a second whether a client's pool has as few connections as it should at least have. Ours should have
 * none, so that there is nothing to see, and an engine that has nothing to do is woken for nothing (bench `idle`: a fifth of what it cost).
 */
import type { MongoClient } from 'mongodb';

const HOUR_MS = 3_600_000;

/** Before the client connects. What the user's URI asks for stays as it is. */
export function withoutPoolChecks(client: MongoClient): MongoClient {
  // The driver (7.9) reads this option, but does not let it be given. Where it is not read any more, nothing changes.
  if (client.options.minPoolSize === 0) Object.assign(client.options, { minPoolSizeCheckFrequencyMS: HOUR_MS });
  return client;
}
