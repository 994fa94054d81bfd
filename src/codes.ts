/**
 * Every code that an operator can meet: in messages of the command line, in the log from level `warn` on, in the answers of
 * `/readyz`, `/healthz` and the API. Each has a page in docs/errors, which `tailrace explain CODE` prints; a test holds the pages and
 * this list together, and the type of `Log` lets no warning be written without one.
 */
import { USER_ERROR_CODES } from './errors.ts';
import type { UserErrorCode } from './errors.ts';
import { GAP_REASONS, HOLD_REASONS } from './observe/status.ts';
import type { GapReason, HoldReason } from './observe/status.ts';
import { PARK_REASONS } from './worker/protocol.ts';
import type { ParkReason } from './worker/protocol.ts';

/** What is noticed while running, and is nobody's exception. */
export const NOTICE_CODES = [
  'api-bad-request',
  'api-closed',
  'api-conflict',
  'api-content-type',
  'api-cross-site',
  'api-method',
  'api-not-found',
  'api-too-large',
  'api-too-many',
  'api-too-many-watchers',
  'api-unauthorized',
  'api-unreachable',
  'change-not-undone',
  'checkpoint-differs',
  'checkpoint-failing',
  'collation-by-namespace',
  'collation-unknown',
  'confirm-late',
  'connections-limited',
  'copy-failing',
  'engine-elsewhere',
  'filter-unused',
  'http-failed',
  'lock-impossible',
  'majority-late',
  'no-batch',
  'no-worker',
  'notify-failed',
  'other-member',
  'parking-failing',
  'parking-full',
  'position-unverified',
  'recent-positions-damaged',
  'set-by-name-only',
  'shutdown-late',
  'sink-away',
  'sink-blocked',
  'sink-refused',
  'snapshot-failed',
  'snapshot-left-out',
  'snapshot-waits',
  'snapshot-window',
  'source-away',
  'source-refused',
  'source-stopped',
  'source-unused',
  'start-not-stored',
  'states-failing',
  'states-forgotten',
  'states-full',
  'states-too-large',
  'states-unknown',
  'stream-commands-missing',
  'stream-event-too-large',
  'stream-stuck',
  'subscription-detached',
  'subscription-renamed',
  'time-series-left-out',
  'unexpected',
  'unknown-operations',
  'worker-lost',
  'worker-not-started',
  'workers-stuck',
] as const;

export type NoticeCode = (typeof NOTICE_CODES)[number];

export type Code = UserErrorCode | NoticeCode | `position-${GapReason}` | `held-${HoldReason}` | `parked-${ParkReason}`;

export const CODES: readonly Code[] = [
  ...USER_ERROR_CODES,
  ...NOTICE_CODES,
  ...GAP_REASONS.map((reason) => `position-${reason}` as const),
  ...HOLD_REASONS.map((reason) => `held-${reason}` as const),
  ...PARK_REASONS.map((reason) => `parked-${reason}` as const),
];
