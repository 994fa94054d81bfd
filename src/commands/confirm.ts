/** Asks before something that cannot be undone: at a terminal; anywhere else `--yes` must have been said. */
import { createInterface } from 'node:readline/promises';
import { UserError } from '../errors.ts';

export async function confirmed(question: string, yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UserError('usage', `Nothing was changed: say \`--yes\` to go on where nobody can be asked.`);
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
