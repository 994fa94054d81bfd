/**
 * What the page knows of the engine, and the one loop that asks: once a second for the status and for the health, only while somebody
 * can see the page.
 * Invariant: when nobody answers, what was known stays, and `connection` says since when it is old.
 */
import { computed, signal } from '@preact/signals';
import { api, ask, AskError, forgetToken, hasToken } from './api.ts';
import { History } from './history.ts';
import type { Rates } from './history.ts';
import type { Health, StatusReport } from './types.ts';

const EVERY_MS = 1_000;

export type Connection =
  | { readonly kind: 'asking' }
  | { readonly kind: 'there' }
  /** `since`: of the last answer, `Date.now()`; undefined where there was none. */
  | { readonly kind: 'gone'; readonly why: string; readonly since: number | undefined }
  | { readonly kind: 'unauthorized'; readonly wasWrong: boolean }
  | { readonly kind: 'closed'; readonly why: string };

const history = new History();

export const connection = signal<Connection>({ kind: 'asking' });
export const status = signal<StatusReport | undefined>(undefined);
export const health = signal<Health | undefined>(undefined);
export const rates = signal<Rates | undefined>(undefined);
/** Grows with each sample; whoever draws the columns looks at it. */
export const samples = signal(0);
export const columns = history.columns;

/** What was declared has changed, or may have: lists that hold it ask again. */
export const revision = signal(0);

export const isReady = computed(() => health.value?.ready === true && health.value.live);

let lastAnswerAt: number | undefined;
let wake: () => void = () => {};

/** At once, instead of at the next second. */
export function askNow(): void {
  wake();
}

export async function keepAsking(): Promise<never> {
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) wake();
  });
  for (;;) {
    const isWaitingForToken = connection.value.kind === 'unauthorized' && !hasToken();
    if (!document.hidden && !isWaitingForToken) await askOnce();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, EVERY_MS);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

async function askOnce(): Promise<void> {
  try {
    const [report, reasons] = await Promise.all([ask<StatusReport>('status'), api<Health>('/health')]);
    const before = status.value;
    lastAnswerAt = Date.now();
    rates.value = history.add({ at: lastAnswerAt, status: report });
    status.value = report;
    health.value = reasons;
    samples.value += 1;
    if (connection.value.kind !== 'there') connection.value = { kind: 'there' };
    if (before && (report.uptimeSeconds < before.uptimeSeconds || names(report) !== names(before))) revision.value += 1;
  } catch (error) {
    connection.value = connectionAfter(error);
  }
}

function connectionAfter(error: unknown): Connection {
  if (!(error instanceof AskError)) throw error;
  switch (error.code) {
    case 'api-unauthorized': {
      const wasWrong = hasToken();
      forgetToken();
      return { kind: 'unauthorized', wasWrong };
    }
    case 'api-closed':
    case 'api-cross-site':
      return { kind: 'closed', why: error.message };
    case undefined:
    default:
      return { kind: 'gone', why: error.message, since: lastAnswerAt };
  }
}

function names({ sources, sinks, subscriptions }: StatusReport): string {
  return JSON.stringify([Object.keys(sources), Object.keys(sinks), Object.keys(subscriptions)]);
}
