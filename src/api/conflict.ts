/** What cannot be done as things are is the asker's business. */
import { NotNowError, PositionLostError, UserError } from '../errors.ts';
import { ProblemError } from './problem.ts';

export async function asConflict<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof NotNowError || error instanceof UserError || error instanceof PositionLostError) {
      throw new ProblemError({ code: 'api-conflict', detail: error.message });
    }
    throw error;
  }
}
