/**
 * The short form of some cases as tests; each with chances of its own, which are printed. Each run of all tests draws one in eight of the
 * cases, so that it stays short; `TAILRACE_TORTURE=all` runs every one.
 */
import { after, test } from 'node:test';
import { ServersUnavailable } from '../servers/index.ts';
import { Arena, Servers, seedOf } from './arena.ts';
import { CannotRun } from './case.ts';
import type { TortureCase } from './case.ts';

const CASE_TIMEOUT_MS = 240_000;
const LEFT_OUT = 'not drawn this time; TAILRACE_TORTURE=all runs every case';

export function shortForms(cases: readonly TortureCase[]): void {
  const seed = Number(process.env['TAILRACE_SEED'] ?? Math.floor(Math.random() * 1e9));
  const servers = new Servers();
  after(async () => servers[Symbol.asyncDispose]());
  for (const one of cases) {
    const { end, name } = one;
    const skip = isDrawn(one, seed) ? false : LEFT_OUT;
    test(`${end}: ${name}: nothing is lost, the order holds`, { timeout: CASE_TIMEOUT_MS, skip }, async (t) => {
      t.diagnostic(`TAILRACE_SEED=${seed}`);
      const say = (line: string): void => t.diagnostic(line);
      await using arena = new Arena({ size: 'short', seed: seedOf(seed, `${end}: ${name}`), servers, say });
      try {
        t.diagnostic(JSON.stringify(await one.run(arena)));
      } catch (error) {
        if (!(error instanceof CannotRun) && !(error instanceof ServersUnavailable)) throw error;
        t.skip(error.message);
      }
    });
  }
}

function isDrawn({ end, name }: TortureCase, seed: number): boolean {
  return process.env['TAILRACE_TORTURE'] === 'all' || seedOf(seed, `drawn ${end}: ${name}`) % 8 === 0;
}
