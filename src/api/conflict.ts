/** What cannot be done as things are is the asker's business. */
import { ConfigError } from '../config/faults.ts';
import { NotNowError, PositionLostError, UserError } from '../errors.ts';
import { ProblemError } from './problem.ts';

export async function asConflict<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    // Its faults are places in what was sent, which whoever took it knows.
    if (error instanceof ConfigError) throw error;
    if (error instanceof UserError && error.code === 'managed-by-file') {
      throw new ProblemError({ code: error.code, detail: error.message });
    }
    if (error instanceof NotNowError || error instanceof UserError || error instanceof PositionLostError) {
      throw new ProblemError({ code: 'api-conflict', detail: error.message });
    }
    throw error;
  }
}
