/** `tailrace checkpoint set`: where a subscription reads on, as a user decides; after saying what that skips or repeats. */
import { CheckpointStore } from '../checkpoint/store.ts';
import { managedConfig } from './managed-config.ts';
import { parseStart } from '../config/start.ts';
import { UserError } from '../errors.ts';
import { noLog } from '../library/no-log.ts';
import { formatTs } from '../source/position.ts';
import { confirmed } from './confirm.ts';
import { planMove } from '../check/move.ts';
import type { Move } from '../check/move.ts';
import { withTime } from '../check/positions.ts';
import { lookAtStart } from '../check/source-look.ts';
import { lockStopped } from './stopped-folder.ts';
import { asJson, talk, toStdout } from './output.ts';

export interface CheckpointSetOptions {
  /** The configuration file. */
  readonly config: string;
  readonly subscription: string;
  /** As `start` is written. */
  readonly position: string;
  readonly yes: boolean;
  readonly json?: boolean;
  readonly write?: (text: string) => void;
}

export async function checkpointSet(options: CheckpointSetOptions): Promise<number> {
  const { subscription: name, position, yes, json = false, write = toStdout } = options;
  const say = talk({ json, yes, write });
  const config = await managedConfig(options.config);
  const subscription = config.subscriptions.find((one) => one.name === name);
  if (subscription === undefined) {
    throw new UserError('usage', `subscription "${name}" is not configured: there is nothing to set a position for.`);
  }
  const start = parseStart(position);
  if (start === undefined || start.kind === 'snapshot') {
    throw new UserError(
      'usage',
      `"${position}": expected latest, earliest, an ISO date, or seconds:increment for what came after it`,
    );
  }
  const { path } = config.checkpoint;
  await using lock = await lockStopped(
    path,
    'checkpoint set',
    `; or have the running one do it, for this subscription alone: \`tailrace ctl post subscriptions/${name}/move --body FILE\`, with {"position": ${JSON.stringify(position)}} in the file`,
  );
  void lock;
  await using store = await CheckpointStore.open({ path, log: noLog });
  const stored = store.get(name);
  const source = config.sources.find((one) => one.name === subscription.source)!;
  const look = await lookAtStart(config, source, start);
  if (look.kind === 'unreachable' && start.kind !== 'from') {
    throw new UserError(
      'usage',
      `source "${source.name}" cannot be reached, and only it knows what \`${position}\` is. Give a date, or seconds:increment.`,
    );
  }
  const move = planMove({ config, subscription, stored, look }, start);
  say(textOf(move));
  say(
    look.kind === 'seen'
      ? 'The position is in what the source still has.\n'
      : `Whether the position is in the oplog is not known: source "${source.name}" cannot be reached.\n`,
  );
  const changed = await confirmed('Set it?', yes);
  if (changed) {
    // First: a skip must not go unsaid.
    if (move.gap) await store.addGap(move.gap);
    await store.set(move.record);
  }
  if (json) {
    const { from, effect } = move;
    const isInSource = look.kind === 'seen' ? true : null;
    const to = formatTs(move.record.resume.ts);
    write(asJson({ subscription: name, changed, from: from ? formatTs(from) : null, to, effect, isInSource }));
  } else write(changed ? 'Set.\n' : 'Nothing was changed.\n');
  return 0;
}

/** For a person. */
function textOf({ record: { subscription, resume }, from, effect }: Move): string {
  const to = withTime(resume.ts);
  if (from === undefined) return `${subscription} has no checkpoint yet; it would begin at ${to}.\n`;
  const head = `${subscription} stands at ${withTime(from)}; it would go on at ${to}.\n`;
  switch (effect) {
    case 'skipped':
      return `${head}SKIPPED: what was written between them is not delivered; a gap record will say so.\n`;
    case 'none':
      return `${head}Nothing is skipped.\n`;
    case 'repeated':
      return `${head}Repeated: what was written between them is delivered again.\n`;
  }
}
