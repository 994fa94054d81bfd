/** What happens when the user that the engine reads with is taken away while it runs, or what that user may do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import type { Document } from 'mongodb';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome } from '../case.ts';

const PASSWORD = 'p@ss:w/rd';
const READ_LOCAL = [{ role: 'read', db: 'local' }];

export async function revoked(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo({ members: 3, auth: { user: 'root', password: PASSWORD } });
  await using root = await MongoClient.connect(mongo.uri);
  const admin = async (command: Document): Promise<unknown> => root.db('admin').command(command);
  const create = { createUser: 'reader', pwd: PASSWORD, roles: READ_LOCAL };
  await admin(create);
  await using trial = await Trial.begin({
    arena,
    mongo: { uri: mongo.uri, through: mongo.uri.replace('//root:', '//reader:') },
  });
  const faults: readonly (readonly [Document, Document])[] = [
    [{ dropUser: 'reader' }, create],
    [
      { revokeRolesFromUser: 'reader', roles: READ_LOCAL },
      { grantRolesToUser: 'reader', roles: READ_LOCAL },
    ],
  ];
  for (let round = 0; round < arena.pick(1, 4); round++) {
    for (const [taken, givenBack] of faults) {
      await trial.strike(async () => {
        await admin(taken);
        await trial.untilNotReady(/auth/i, 10_000);
        await sleep(arena.random.between(0, arena.pick(1_000, 10_000)));
        await admin(givenBack);
      });
      await trial.untilReady();
    }
  }
  return await trial.verdict({ repeats: 0 });
}
