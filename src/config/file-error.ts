/** Why a file could not be read: the system's code, the only part of such an error that is worth showing. */
export function fileErrorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
