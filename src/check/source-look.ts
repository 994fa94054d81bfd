/** One look at a source, for commands that change where it is read from: who is it, and is a position in it? Changes nothing. */
import { PositionLostError, UserError } from '../errors.ts';
import { noLog } from '../library/no-log.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import { makeSource } from '../source/make-source.ts';
import { formatTs, isFuture } from '../source/position.ts';
import type { Config, SourceConfig, Start } from '../config/config.ts';
import type { ResumePoint, Ts } from '../source/position.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import { CHECK_TIMEOUT_MS } from './findings.ts';
import { withTime } from './positions.ts';

export type Look =
  | { readonly kind: 'seen'; readonly identity: SourceIdentity; readonly resume: ResumePoint }
  | { readonly kind: 'unreachable' };

/**
 * Where this start would begin. Throws `UserError` where it cannot: not in the oplog any more, or in the future, which this
 * machine's clock tells where the source does not.
 */
export async function lookAtStart(config: Config, of: SourceConfig, start: Start): Promise<Look> {
  try {
    return await withSource(config, of, async ({ source, stop }) => {
      const identity = await source.connect(stop);
      const newest = await source.resolve({ kind: 'latest' }, stop);
      refuseFuture(start, newest.ts, `the newest entry is ${formatTs(newest.ts)}`);
      const resume = start.kind === 'latest' ? newest : await source.resolve(start, stop);
      await source.verify(resume, stop);
      return { kind: 'seen', identity, resume };
    });
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (error instanceof PositionLostError) {
      const at = start.kind === 'from' ? start.written : start.kind;
      const oldest = error.oldest ? `, whose oldest entry is ${withTime(error.oldest.ts)}` : '';
      throw new UserError(
        `position-${error.reason}`,
        `${at} is not in the oplog of source "${of.name}"${oldest}. Nothing was changed; \`earliest\` is as far back as it goes.`,
        { cause: error },
      );
    }
    const now = new Date();
    const ts = { seconds: Math.floor(now.getTime() / 1000), increment: 0 };
    refuseFuture(start, ts, `it is ${now.toISOString()} here, and the source cannot be reached`);
    return { kind: 'unreachable' };
  }
}

export interface Opened {
  readonly source: Source;
  readonly budget: ByteBudget;
  /** There is no more time. */
  readonly stop: AbortSignal;
}

/** As `run` reads it, for a moment; rejects when that takes longer than a person would wait. */
export async function withSource<T>(config: Config, of: SourceConfig, use: (opened: Opened) => Promise<T>): Promise<T> {
  const subscriptions = config.subscriptions.filter((one) => one.source === of.name);
  const onReconnect = (): void => undefined;
  const budget = new ByteBudget(config.pipeline.inFlightBytes);
  const source = makeSource({ config: of, subscriptions, budget, log: noLog, onReconnect });
  const stop = AbortSignal.timeout(CHECK_TIMEOUT_MS);
  const late = new Promise<never>((_, reject) => {
    stop.addEventListener('abort', () => reject(new Error('no answer in time')), { once: true });
  });
  late.catch(() => undefined);
  try {
    const used = use({ source, budget, stop });
    used.catch(() => undefined);
    return await Promise.race([late, used]);
  } finally {
    await source.close();
  }
}

function refuseFuture(start: Start, newest: Ts, because: string): void {
  if (start.kind !== 'from' || !isFuture(start.ts, newest)) return;
  throw new UserError('start-in-future', `${start.written} lies in the future (${because}). Nothing was changed.`);
}
