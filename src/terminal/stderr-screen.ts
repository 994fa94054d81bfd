/** Standard error where it is a terminal, as a `Screen`. */
import { write, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Screen, Size } from './below-log.ts';

const STDERR = 2;
const RETRY_MS = 100;

export const stderrScreen: Screen = {
  get size(): Size {
    return { columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 };
  },

  // Not by `process.stderr`: that is synchronous for terminals, and one that stands still would stop the engine.
  async write(text) {
    let rest = Buffer.from(text);
    while (rest.length > 0) {
      const written = await writeSome(rest);
      if (written === 0) await sleep(RETRY_MS);
      rest = rest.subarray(written);
    }
  },

  writeNow(text) {
    try {
      writeSync(STDERR, text);
    } catch {
      // There is nobody left to tell.
    }
  },
};

/** All of it where the terminal is gone: there is no use in trying again. */
function writeSome(bytes: Buffer): Promise<number> {
  return new Promise((resolve) => {
    write(STDERR, bytes, (error, written) => {
      if (!error) resolve(written);
      else resolve(error.code === 'EAGAIN' ? 0 : bytes.length);
    });
  });
}
