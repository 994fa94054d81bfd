/** Asks before something that cannot be undone: at a terminal; anywhere else `--yes` must have been said. */
import { createInterface } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import { InterruptedError, UserError } from '../errors.ts';

export interface Terminal {
  readonly input: Pick<ReadStream, 'isTTY'> & NodeJS.ReadableStream;
  readonly output: Pick<WriteStream, 'isTTY'> & NodeJS.WritableStream;
}

/** Throws `InterruptedError` when Ctrl-C or the end of the input comes instead of an answer. */
export async function confirmed(
  question: string,
  yes: boolean,
  { input, output }: Terminal = { input: process.stdin, output: process.stderr },
): Promise<boolean> {
  if (yes) return true;
  if (!input.isTTY || !output.isTTY) {
    throw new UserError('usage', `Nothing was changed: say \`--yes\` to go on where nobody can be asked.`);
  }
  const terminal = createInterface({ input, output });
  const answer = await new Promise<string | undefined>((resolve) => {
    // Ctrl-C closes it too, as nobody listens to its `SIGINT`.
    terminal.once('close', () => resolve(undefined));
    terminal.question(`${question} [y/N] `, resolve);
  });
  terminal.close();
  if (answer === undefined) {
    output.write('\nNothing was changed.\n');
    throw new InterruptedError();
  }
  return /^y(es)?$/i.test(answer.trim());
}
