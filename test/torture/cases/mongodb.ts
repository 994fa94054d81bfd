/** What happens to the replica set: members die, are elected, cut off, rolled back, resized and replaced. */
import {
  killedAlone,
  primaryKilled,
  readMemberAnew,
  readMemberDelayed,
  readMemberHangs,
  readMemberKilled,
  steppedDown,
} from './mongodb-members.ts';
import { overtaken, overtakenStopped, recreated } from './mongodb-position.ts';
import { revoked } from './mongodb-rights.ts';
import { majorityGone, rolledBack } from './mongodb-majority.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

const on = (name: string, run: (arena: Arena) => Promise<Outcome>): TortureCase => ({
  end: 'MongoDB',
  name,
  versionsOf: 'MongoDB',
  run,
});

export const MONGODB_CASES: readonly TortureCase[] = [
  on('SIGKILL and restart of a set of one', killedAlone),
  on('step-down and election', steppedDown),
  on('SIGKILL of the primary', primaryKilled),
  on('SIGKILL of the member that is read', readMemberKilled),
  on('writes to a primary cut off are rolled back, read from it', async (arena) => rolledBack(arena, 'primary')),
  on('writes to a primary cut off are rolled back, read elsewhere', async (arena) => rolledBack(arena, 'secondary')),
  on('majority gone for a while', majorityGone),
  on('the member that is read hangs', readMemberHangs),
  on('the member that is read falls 30 s behind', readMemberDelayed),
  on('initial sync of the member that is read', readMemberAnew),
  on('oplog rolled over below the position, running', overtaken),
  on('oplog rolled over below the position, stopped', overtakenStopped),
  on('another set of the same name', recreated),
  on('credentials and rights revoked', revoked),
];
