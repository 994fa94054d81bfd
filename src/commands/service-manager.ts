/**
 * What systemd is told of a run (`Type=notify`): READY=1 once the engine is ready, WATCHDOG=1 while it is healthy, STOPPING=1, and a line for
 * `systemctl status`. While it is not ready yet it asks for more time as long as it is healthy: a broker that is away at a start is waited
 * for, a start that hangs is ended.
 * Node has no unix datagram sockets, so systemd's own `systemd-notify` sends it, which the unit permits by `NotifyAccess=all`.
 * Invariants: nothing is sent unless asked for (NOTIFY_SOCKET); what cannot be sent is one warning and never ends the engine; only a
 * main thread that turns and a healthy engine keep the watchdog quiet.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import type { EmbeddedEngine } from '../library/engine.ts';
import { liveness, readiness } from '../observe/health.ts';
import type { Reason } from '../observe/health.ts';
import type { Log } from '../observe/log.ts';
import type { StatusReport } from '../observe/status.ts';

const TICK_MS = 1_000;
/** A line that changes with every look is shown now and then only, as each costs a process. */
const STATUS_MS = 10_000;
/** How often it is asked for more time where there is no watchdog, and how much. */
const BEAT_MS = 20_000;
const MORE_TIME_MS = 60_000;
/** It waits until systemd has read what was sent, itself 5 s at most. */
const SEND_TIMEOUT_MS = 8_000;

export interface ServiceManagerOptions {
  readonly engine: Pick<EmbeddedEngine, 'health' | 'status'>;
  readonly log: Log;
  readonly env?: NodeJS.ProcessEnv;
  readonly stop: AbortSignal;
}

/** Tells it until disposed, which is for when the engine has ended. */
export function tellServiceManager({
  engine,
  log,
  env = process.env,
  stop,
}: ServiceManagerOptions): AsyncDisposable | undefined {
  if (env['NOTIFY_SOCKET'] === undefined || env['NOTIFY_SOCKET'] === '') return undefined;
  const watchdogMs = watchdog(env);
  // Twice may go wrong.
  const beatMs = watchdogMs === undefined ? BEAT_MS : watchdogMs / 3;
  const send = sender(env, log);
  let ready = false;
  let lastBeatAt = -Infinity;
  let lastStatusAt = -Infinity;
  let lastStatus = '';
  let wasReady: boolean | undefined;

  const look = async (): Promise<void> => {
    const now = performance.now();
    const facts = engine.health();
    const reasons = readiness(facts, now);
    const isReady = reasons.length === 0;
    const said: string[] = [];
    if (isReady && !ready) {
      ready = true;
      said.push('READY=1');
    }
    if (now - lastBeatAt >= beatMs && liveness(facts, now).length === 0) {
      lastBeatAt = now;
      if (watchdogMs !== undefined) said.push('WATCHDOG=1');
      if (!ready) said.push(`EXTEND_TIMEOUT_USEC=${Math.max(MORE_TIME_MS, beatMs * 3) * 1_000}`);
    }
    const status = statusLine(reasons, engine.status());
    if (status !== lastStatus && (isReady !== wasReady || now - lastStatusAt >= STATUS_MS)) {
      [lastStatus, lastStatusAt, wasReady] = [status, now, isReady];
      said.push(`STATUS=${status}`);
    }
    if (said.length > 0) await send(said);
  };

  let sending: Promise<void> | undefined;
  const timer = setInterval(
    () => {
      sending ??= look().finally(() => (sending = undefined));
    },
    Math.min(TICK_MS, beatMs),
  );
  const stopping = new Promise<void>((resolve) => {
    const onStop = (): void => {
      clearInterval(timer);
      resolve((sending ?? Promise.resolve()).then(() => send(['STOPPING=1', 'STATUS=Stopping.'])));
    };
    if (stop.aborted) onStop();
    else stop.addEventListener('abort', onStop, { once: true });
  });
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await (stop.aborted ? stopping : sending);
    },
  };
}

/** Undefined where there is none, or it is meant for another process. */
function watchdog(env: NodeJS.ProcessEnv): number | undefined {
  const ms = Number(env['WATCHDOG_USEC']) / 1_000;
  const pid = env['WATCHDOG_PID'];
  return ms > 0 && (pid === undefined || pid === String(process.pid)) ? ms : undefined;
}

function statusLine([first, ...others]: readonly Reason[], { subscriptions, sources }: StatusReport): string {
  if (first !== undefined) return `Not ready: ${first.text}${others.length > 0 ? ` (and ${others.length} more)` : ''}`;
  const behind = Object.values(sources).map(({ checkpointLagSeconds }) => checkpointLagSeconds ?? 0);
  const names = Object.keys(subscriptions).length;
  return `Delivering ${names} subscription${names === 1 ? '' : 's'}, ${Math.round(Math.max(0, ...behind))} s behind.`;
}

function sender(env: NodeJS.ProcessEnv, log: Log): (said: readonly string[]) => Promise<void> {
  const run = promisify(execFile);
  let failing = false;
  return async (said) => {
    try {
      await run('systemd-notify', said.map(oneLine), { env, timeout: SEND_TIMEOUT_MS });
      failing = false;
    } catch (error) {
      if (failing) return;
      failing = true;
      log.warn(
        { code: 'notify-failed', err: error },
        'systemd asks to be told of the start and cannot be: is there a `systemd-notify`, and does the unit say NotifyAccess=all?',
      );
    }
  };
}

/** Each line would be an assignment of its own: a server's words must not make one. */
function oneLine(assignment: string): string {
  return withoutKnownSecrets(assignment).replaceAll(/\p{Cc}+/gu, ' ');
}
