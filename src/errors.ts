/**
 * The errors that decide what the engine does next. Everything else is retried where it happened. Messages say what
 * happened, what it means and what to do; code branches on the class and `code`, never on the text.
 */
import { formatTs } from './source/position.ts';
import type { OpTime, ResumePoint } from './source/position.ts';

/** The user must change something before a start can succeed: exit code 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A running engine could not be asked, or refused an answer. */
export class EngineAnswerError extends Error {
  override readonly name = 'EngineAnswerError';
  /** Of the catalogue, maybe of a newer version's. */
  readonly code: string;
  /** Another request would be answered. */
  readonly isRefusal: boolean;

  constructor(code: string, message: string, { isRefusal }: { readonly isRefusal: boolean }) {
    super(message);
    this.code = code;
    this.isRefusal = isRefusal;
  }
}

/** The user ended a command instead of answering it, which has changed nothing and said so: exit code 130. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

/** Each has a page in docs/errors. */
export const USER_ERROR_CODES = [
  'config-invalid',
  'start-in-future',
  'time-series',
  'credentials-refused',
  'tls-failed',
  'not-a-replica-set',
  'rights-missing',
  'topology-missing',
  'topology-conflict',
  'other-replica-set',
  'repartition-needed',
  'managed-by-file',
  'folder-locked',
  'subscription-locked',
  'folder-unusable',
  'store-damaged',
  'store-newer',
  'store-unchecked',
  'port-in-use',
  'event-too-large',
  'usage',
] as const;

export type UserErrorCode = (typeof USER_ERROR_CODES)[number];

/** A position that a user asks for may be lost, too. */
export type RefusalCode = UserErrorCode | `position-${LostReason}`;

/** Why a position is lost; also the reason of a gap record. */
export const LOST_REASONS = ['truncated', 'diverged', 'transaction'] as const;

export type LostReason = (typeof LOST_REASONS)[number];

/** The position to read on from is not in the oplog any more, or never was in this history. */
export class PositionLostError extends Error {
  override readonly name = 'PositionLostError';
  readonly reason: LostReason;
  readonly position: ResumePoint;
  /** Undefined where the oplog may not be read. */
  readonly oldest: OpTime | undefined;

  constructor(lost: LostPosition) {
    super(lostMessage(lost));
    this.position = lost.position;
    this.oldest = lost.oldest;
    this.reason = lost.reason;
  }
}

/** What was asked of a running engine cannot be done as things are; the message is for people. */
export class NotNowError extends Error {
  override readonly name = 'NotNowError';
}

type LostPosition = {
  readonly source: string;
  readonly position: ResumePoint;
} & (
  | { readonly reason: 'truncated' | 'diverged'; readonly oldest: OpTime }
  /** A part of a transaction at `position`, needed at `commit`. */
  | { readonly reason: 'transaction'; readonly commit: OpTime; readonly oldest: OpTime }
  /** A change stream does not tell how far back it could go. */
  | { readonly reason: 'truncated' | 'diverged'; readonly oldest: undefined }
);

function lostMessage(lost: LostPosition): string {
  const { source, position, oldest, reason } = lost;
  if (oldest === undefined) return lostFromStream(source, formatTs(position.ts), reason);
  switch (reason) {
    case 'truncated':
      return (
        `source "${source}": position ${formatTs(position.ts)} has left the oplog, whose oldest entry is ${formatTs(oldest.ts)}: ` +
        `changes between them are gone. Go on with \`onPositionLost: snapshot\`, which reads all documents anew; or take a new copy of the data, ` +
        `then go on with \`earliest\` (from ${formatTs(oldest.ts)}) or \`latest\`. And give the oplog more room.`
      );
    case 'diverged':
      return (
        `source "${source}": the entry at ${formatTs(position.ts)} is not in this member's history, though older ones are ` +
        `(oldest ${formatTs(oldest.ts)}): it was rolled back, or the data was restored. Go on with ` +
        `\`onPositionLost: snapshot\`, which reads all documents anew; or compare your copy of the data, then go on with \`earliest\` or \`latest\`.`
      );
    case 'transaction':
      return (
        `source "${source}": the transaction that took effect at ${formatTs(lost.commit.ts)} has a part at ${formatTs(position.ts)}, which ` +
        `is not in the oplog any more (oldest entry ${formatTs(oldest.ts)}): its operations are gone. Take a new copy of the data, then ` +
        `go on behind it with \`onPositionLost: earliest\` or \`latest\`, and give the oplog more room.`
      );
  }
}

function lostFromStream(source: string, at: string, reason: 'truncated' | 'diverged'): string {
  return reason === 'truncated'
    ? `source "${source}": position ${at} has left the server's oplog: changes behind it are gone. Take a new copy of the data, ` +
        `then go on with \`onPositionLost: latest\`, and give the oplog more room.`
    : `source "${source}": the event at ${at} is not in this server's history: it was rolled back, or the data was restored. ` +
        `Compare your copy of the data, then go on with \`onPositionLost: latest\`.`;
}
