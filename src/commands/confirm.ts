/** Asks before something that cannot be undone: at a terminal; anywhere else `--yes` must have been said. */
import { InterruptedError, UserError } from '../errors.ts';
import { ask, canAsk, ownTerminal } from './ask.ts';
import type { Terminal } from './ask.ts';

/** Throws `InterruptedError` when Ctrl-C or the end of the input comes instead of an answer. */
export async function confirmed(question: string, yes: boolean, terminal: Terminal = ownTerminal()): Promise<boolean> {
  if (yes) return true;
  if (!canAsk(terminal)) {
    throw new UserError('usage', `Nothing was changed: say \`--yes\` to go on where nobody can be asked.`);
  }
  const answer = await ask(`${question} [y/N] `, terminal);
  if (answer === undefined) {
    terminal.output.write('\nNothing was changed.\n');
    throw new InterruptedError();
  }
  return /^y(es)?$/i.test(answer);
}
