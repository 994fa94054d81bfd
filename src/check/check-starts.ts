/** Where each subscription of a source would begin, found out as `run` does it: by its checkpoint, or by `start`, held against the source. */
import type { CheckpointRecord } from '../checkpoint/record.ts';
import type { Config, SourceConfig, Start, SubscriptionConfig } from '../config/config.ts';
import { layoutHash, routingHash, usesPartitionQueues } from '../config/routing-hash.ts';
import { PositionLostError, UserError } from '../errors.ts';
import { Members } from '../feed/members.ts';
import type { Route } from '../feed/route.ts';
import { Starts } from '../feed/starts.ts';
import { noLog } from '../library/no-log.ts';
import type { Coded, Log } from '../observe/log.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import { withTime } from './positions.ts';
import type { Findings } from './findings.ts';

export interface StartsLook {
  readonly config: Config;
  readonly of: SourceConfig;
  readonly source: Source;
  readonly identity: SourceIdentity;
  /** By subscription. */
  readonly stored: ReadonlyMap<string, CheckpointRecord>;
  /** By subscription, where it is not its source that says. */
  readonly starts: ReadonlyMap<string, Start>;
}

export async function checkStarts(look: StartsLook, findings: Findings, stop: AbortSignal): Promise<void> {
  const { config, of, source, identity, stored, starts: own } = look;
  const said = new Set<string>();
  for (const subscription of config.subscriptions) {
    if (subscription.source !== of.name) continue;
    const starts = new Starts({
      source,
      config: of,
      members: new Members([routeOf(subscription, { config, start: own.get(subscription.name) })]),
      pipeline: config.pipeline,
      // What a run would write there is only said.
      checkpoints: { get: (name) => stored.get(name), put: nothing, flushed: nothing, addGap: nothing },
      log: intoFindings(findings),
      repartition: false,
    });
    try {
      // The collections' collations belong to it, too: to be held against, they would have to be read as well.
      const routing = (route: Route): string => stored.get(route.config.name)?.routing ?? route.routing;
      const standing = (await starts.find({ identity, routing }, stop)).get(0)!;
      const from = withTime(standing.resume.ts);
      const { name } = subscription;
      const before = stored.get(name)?.resume.ts;
      if (standing.isBeyondGap) {
        const where = before ? `its position, ${withTime(before)},` : 'where it is to begin';
        const anew = of.onPositionLost === 'snapshot' ? ', and all documents are read anew' : '';
        findings.warning(
          `subscription ${name}: ${where} is lost: at a start it goes on at ${from}, as \`onPositionLost: ${of.onPositionLost}\` says${anew}. What was changed in between is not delivered, and a gap record says so`,
        );
      } else if (before) findings.ok(`subscription ${name} goes on at its checkpoint, ${from}`);
      else findings.ok(`subscription ${name} has no checkpoint: it begins at ${from}`);
    } catch (error) {
      if (!(error instanceof UserError || error instanceof PositionLostError)) throw error;
      // Those that share a start share what is wrong with it.
      if (!said.has(error.message)) findings.fault(error.message);
      said.add(error.message);
    }
  }
}

/** As far as starts look at it. */
function routeOf(
  subscription: SubscriptionConfig,
  { config: { pipeline }, start }: { readonly config: Config; readonly start: Start | undefined },
): Route {
  return {
    config: subscription,
    ...(start && { start }),
    routing: routingHash(subscription, pipeline),
    layout: layoutHash(pipeline),
    partitionQueues: usesPartitionQueues(subscription),
  } as Route;
}

async function nothing(): Promise<void> {}

function intoFindings(findings: Findings): Log {
  const warn = ({ code }: Coded, message: string): void => {
    // Said of each subscription, with all that is known of it.
    if (!code.startsWith('position-')) findings.warning(message);
  };
  return { ...noLog, warn, error: warn };
}
