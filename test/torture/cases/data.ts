/** Histories that are hard by what they hold. */
import type { TortureCase } from '../case.ts';

export const DATA_CASES: readonly TortureCase[] = [];
