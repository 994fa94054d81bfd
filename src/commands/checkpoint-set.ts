/** `tailrace checkpoint set`: where a subscription reads on, as a user decides; after saying what that skips or repeats. */
import { planStart } from '../checkpoint/plan-start.ts';
import { RECORD_VERSION } from '../checkpoint/record.ts';
import type { CheckpointRecord, GapRecord } from '../checkpoint/record.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { managedConfig } from './managed-config.ts';
import { layoutHash, routingHash, usesPartitionQueues } from '../config/routing-hash.ts';
import { parseStart } from '../config/start.ts';
import { UserError } from '../errors.ts';
import { floorOf } from '../lanes/floors.ts';
import { noLog } from '../library/no-log.ts';
import { compareTs, formatTs } from '../source/position.ts';
import type { ResumePoint, Ts } from '../source/position.ts';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import { confirmed } from './confirm.ts';
import { withTime } from './positions.ts';
import { lookAtStart } from './source-look.ts';
import type { Look } from './source-look.ts';
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
  if (start === undefined) {
    throw new UserError(
      'usage',
      `"${position}": expected latest, earliest, an ISO date, or seconds:increment for what came after it`,
    );
  }
  const { path } = config.checkpoint;
  await using lock = await lockStopped(path, 'checkpoint set');
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
  const resume: ResumePoint = look.kind === 'seen' ? look.resume : { kind: 'from', ts: (start as { ts: Ts }).ts };
  const replicaSetId = checkedId({ config, subscription, stored, look });
  const record: CheckpointRecord = {
    version: RECORD_VERSION,
    subscription: name,
    source: source.name,
    replicaSetId,
    resume,
    watermark: undefined,
    ...(start.kind === 'earliest' && { torn: resume.ts }),
    routing: stored?.routing ?? routingHash(subscription, config.pipeline),
    layout: stored?.layout ?? layoutHash(config.pipeline),
    partitions: stored?.partitions ?? config.pipeline.partitions,
    partitionQueues: stored?.partitionQueues ?? usesPartitionQueues(subscription),
    lanes: Array.from({ length: stored?.partitions ?? config.pipeline.partitions }, () => undefined),
    updatedAt: Date.now(),
    ...(stored?.pausedAt !== undefined && { pausedAt: stored.pausedAt }),
  };
  const change = changeOf(stored, record);
  say(change.text);
  say(
    look.kind === 'seen'
      ? 'The position is in what the source still has.\n'
      : `Whether the position is in the oplog is not known: source "${source.name}" cannot be reached.\n`,
  );
  const changed = await confirmed('Set it?', yes);
  if (changed) {
    // First: a skip must not go unsaid.
    if (change.gap) await store.addGap(change.gap);
    await store.set(record);
  }
  if (json) {
    const { from, effect } = change;
    const isInSource = look.kind === 'seen' ? true : null;
    write(asJson({ subscription: name, changed, from, to: formatTs(resume.ts), effect, isInSource }));
  } else write(changed ? 'Set.\n' : 'Nothing was changed.\n');
  return 0;
}

interface Found {
  readonly config: Config;
  readonly subscription: SubscriptionConfig;
  readonly stored: CheckpointRecord | undefined;
  readonly look: Look;
}

/** Throws `UserError` where the position would be one of another replica set. */
function checkedId({ config, subscription, stored, look }: Found): string {
  if (look.kind === 'seen') {
    planStart({
      subscription: {
        name: subscription.name,
        source: subscription.source,
        routing: routingHash(subscription, config.pipeline),
        layout: layoutHash(config.pipeline),
        partitions: config.pipeline.partitions,
        usesPartitionQueues: usesPartitionQueues(subscription),
      },
      stored,
      connected: look.identity,
      repartition: true,
    });
    return look.identity.replicaSetId;
  }
  if (stored) return stored.replicaSetId;
  throw new UserError(
    'usage',
    `source "${subscription.source}" cannot be reached, and there is no checkpoint yet that says which replica set it is. Try again ` +
      'when it can be, or let `start` say where to begin.',
  );
}

interface Change {
  /** For a person. */
  readonly text: string;
  /** Of what was written between the two positions. */
  readonly effect: 'none' | 'skipped' | 'repeated';
  /** null where there was no checkpoint. */
  readonly from: string | null;
  readonly gap?: GapRecord;
}

function changeOf(stored: CheckpointRecord | undefined, record: CheckpointRecord): Change {
  const { subscription, source, resume } = record;
  const to = withTime(resume.ts);
  if (stored === undefined) {
    return { text: `${subscription} has no checkpoint yet; it would begin at ${to}.\n`, effect: 'none', from: null };
  }
  const floor = floorOf(stored);
  const done = floor.ts;
  const from = formatTs(done);
  const head = `${subscription} stands at ${withTime(done)}; it would go on at ${to}.\n`;
  const next = floorOf(record);
  // Within one time, too: a token may stand in the middle of a transaction.
  const order = compareTs(next.ts, done) || next.index - floor.index;
  if (order > 0) {
    const gap = { source, subscription, from: done, to: resume.ts, reason: 'skipped', at: Date.now() };
    const text = `SKIPPED: what was written between them is not delivered; a gap record will say so.\n`;
    return { text: head + text, effect: 'skipped', from, gap };
  }
  if (order === 0) return { text: `${head}Nothing is skipped.\n`, effect: 'none', from };
  return { text: `${head}Repeated: what was written between them is delivered again.\n`, effect: 'repeated', from };
}
