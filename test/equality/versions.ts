/**
 * `npm run test:versions`: the comparison with the server's change stream on every server version that can be had. Outside the
 * short gate: it downloads three mongods, once. One that cannot be had is skipped, and the reason printed.
 */
import { test } from 'node:test';
import { OLDER_VERSIONS, ServersUnavailable } from '../servers/index.ts';
import { assertEqual } from './assert-equal.ts';
import { startCompared } from './server.ts';

const OPERATIONS = 50_000;
/** With a source that is switched between the oplog and a change stream. */
const FEWER = 10_000;
const SEED = 445_060;

for (const version of [...OLDER_VERSIONS, undefined]) {
  const name = version === undefined ? 'the mongod at hand' : `mongod ${version}`;
  test(`our events equal those of the change stream of ${name}`, { timeout: 900_000 }, async (t) => {
    const mongo = await startCompared(version === undefined ? {} : { version }).catch((error: unknown) => {
      if (!(error instanceof ServersUnavailable)) throw error;
      t.skip(error.message);
    });
    if (mongo === undefined) return;
    try {
      await assertEqual(t, { uri: mongo.uri, seed: SEED, operations: OPERATIONS, version });
      const modes = ['oplog', 'changeStream'] as const;
      await assertEqual(t, { uri: mongo.uri, seed: SEED + 1, operations: FEWER, version, modes });
    } finally {
      await mongo.stop();
    }
  });
}
