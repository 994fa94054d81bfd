/** Stores that keep nothing: every run begins where it is told to, and what cannot be shown is named in the log only. */
import type { Stores } from './route.ts';

export const nothingKept: Stores = {
  checkpoints: {
    get: () => undefined,
    durable: () => undefined,
    put: async () => {},
    flushed: async () => {},
    addGap: async () => {},
    gaps: () => [],
  },
  parking: { put: async () => {}, failing: undefined, shortage: undefined, totalBytes: 0, count: () => 0 },
};
