/**
 * What an error from the server or the driver asks of the source. Decided by code and class, never by message text.
 * Whatever is not known here is transient: an outage is waited out, however strange it looks.
 */
import { MongoError, MongoInvalidArgumentError, MongoMissingDependencyError } from 'mongodb';
import { UserError } from '../errors.ts';
import type { UserErrorCode } from '../errors.ts';

export type Failure =
  /** Connect anew, after a pause. */
  | { readonly kind: 'transient' }
  /** The cursor is gone, the member is fine: find again at once. */
  | { readonly kind: 'cursor' }
  /** The cursor was overtaken by the oplog's end: find again; the resume check says whether anything is lost. */
  | { readonly kind: 'position' }
  /** Only the user can mend it: ends a first start, is retried later (a password may be changed back). */
  | { readonly kind: 'refused'; readonly code: UserErrorCode }
  /** The history that was asked for does not exist on the server; asking again gives the same answer. */
  | { readonly kind: 'fatal' };

const CURSOR_CODES = new Set([
  43, // CursorNotFound: ordinary after a long pause, when the session or the cursor expired
  175, // QueryPlanKilled
  237, // CursorKilled
  11601, // Interrupted: somebody called killOp
]);

const FATAL_CODES = new Set([
  260, // InvalidResumeToken
  280, // ChangeStreamFatalError
  286, // ChangeStreamHistoryLost
  326, // OplogQueryMinTsMissing
]);

const CAPPED_POSITION_LOST = 136;

const REFUSED_CODES = new Map<number, UserErrorCode>([
  [11, 'credentials-refused'], // UserNotFound: what a certificate's unknown subject is
  [13, 'rights-missing'], // Unauthorized
  [18, 'credentials-refused'], // AuthenticationFailed
  [334, 'credentials-refused'], // MechanismUnavailable
  [8000, 'credentials-refused'], // AtlasError: what Atlas says instead of 18
]);

export function classify(error: unknown): Failure {
  if (
    error instanceof MongoInvalidArgumentError ||
    error instanceof MongoMissingDependencyError ||
    isMissingFile(error)
  ) {
    return { kind: 'refused', code: 'config-invalid' };
  }
  const code = codeOf(error);
  if (code === undefined) return { kind: 'transient' };
  if (CURSOR_CODES.has(code)) return { kind: 'cursor' };
  if (code === CAPPED_POSITION_LOST) return { kind: 'position' };
  if (FATAL_CODES.has(code)) return { kind: 'fatal' };
  const refused = REFUSED_CODES.get(code);
  return refused === undefined ? { kind: 'transient' } : { kind: 'refused', code: refused };
}

/** A certificate or key that the URI names. */
function isMissingFile(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'open';
}

/** The server's error code, where there is one. */
export function codeOf(error: unknown): number | undefined {
  return error instanceof MongoError && typeof error.code === 'number' ? error.code : undefined;
}

/** What an error says, for people. Behind its name the server repeats the whole command, cluster time and session included. */
export function reasonOf(error: unknown): string {
  const said = error instanceof Error ? error.message : String(error);
  return said.replace(/( to execute command) \{ (\w+).*$/s, '$1 $2');
}

/** What the user reads when a first start is refused. */
export function refusal({ source, code, reason }: Refusal): UserError {
  const about = `source "${source}": `;
  if (code === 'credentials-refused') {
    return new UserError(
      code,
      `${about}the server refuses the credentials (${reason}). Check user, password and authSource.`,
    );
  }
  if (code === 'rights-missing') {
    return new UserError(
      code,
      `${about}the user may not read the oplog (${reason}). Grant the role "read" on the database "local": ` +
        `db.grantRolesToUser(USER, [{ role: "read", db: "local" }]).`,
    );
  }
  return new UserError(code, about + reason);
}

interface Refusal {
  readonly source: string;
  readonly code: UserErrorCode;
  /** Fit to be shown: without secrets. */
  readonly reason: string;
}
