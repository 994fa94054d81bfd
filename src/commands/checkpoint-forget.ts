/** `tailrace checkpoint forget`: a subscription begins anew, or has gone for good; after saying what that means. */
import { CheckpointStore } from '../checkpoint/store.ts';
import { managedConfig } from './managed-config.ts';
import { UserError } from '../errors.ts';
import { floorOf } from '../lanes/floors.ts';
import { noLog } from '../library/no-log.ts';
import { confirmed } from './confirm.ts';
import { formatTs } from '../source/position.ts';
import { withTime } from '../check/positions.ts';
import { lockStopped } from './stopped-folder.ts';
import { asJson, talk, toStdout } from './output.ts';

export interface CheckpointForgetOptions {
  /** The configuration file. */
  readonly config: string;
  readonly subscription: string;
  readonly yes: boolean;
  readonly json?: boolean;
  readonly write?: (text: string) => void;
}

export async function checkpointForget(options: CheckpointForgetOptions): Promise<number> {
  const { subscription: name, yes, json = false, write = toStdout } = options;
  const say = talk({ json, yes, write });
  const config = await managedConfig(options.config);
  const { path } = config.checkpoint;
  await using lock = await lockStopped(path, 'checkpoint forget');
  void lock;
  await using store = await CheckpointStore.open({ path, log: noLog });
  const stored = store.get(name);
  if (stored === undefined) {
    const known = store.all().map(({ subscription }) => subscription);
    throw new UserError(
      'usage',
      `There is no checkpoint of "${name}"; there are those of ${known.join(', ') || 'none'}.`,
    );
  }
  say(`${name} stands at ${withTime(floorOf(stored).ts)}.\n`);
  const subscription = config.subscriptions.find((one) => one.name === name);
  let start: string | null = null;
  if (subscription === undefined) say('It is not configured.\n');
  else {
    const { start: found } = config.sources.find((one) => one.name === subscription.source)!;
    start = found.kind === 'from' ? found.written : found.kind;
    say(
      `Forgotten, it begins at \`start: ${start}\` of source "${subscription.source}": ` +
        (start === 'latest'
          ? 'what is written between that position and the next start is SKIPPED; a gap record will say so.\n'
          : 'what is before that position is delivered again; what start lies behind of is SKIPPED, and a gap record will say so.\n'),
    );
  }
  const changed = await confirmed('Forget it?', yes);
  if (changed) await store.forget(name, { beginsAnew: subscription !== undefined });
  if (json) write(asJson({ subscription: name, changed, from: formatTs(floorOf(stored).ts), start }));
  else write(changed ? 'Forgotten. Its gap records and parked events stay.\n' : 'Nothing was changed.\n');
  return 0;
}
