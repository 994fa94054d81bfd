/** A question to whoever sits at the terminal. */
import { createInterface } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';

export interface Terminal {
  readonly input: Pick<ReadStream, 'isTTY'> & NodeJS.ReadableStream;
  readonly output: Pick<WriteStream, 'isTTY'> & NodeJS.WritableStream;
}

/** Standard output is for what was asked for. */
export const ownTerminal = (): Terminal => ({ input: process.stdin, output: process.stderr });

export function canAsk({ input, output }: Terminal): boolean {
  return input.isTTY && output.isTTY;
}

/** Undefined when Ctrl-C or the end of the input comes instead of an answer. */
export async function ask(question: string, { input, output }: Terminal): Promise<string | undefined> {
  const terminal = createInterface({ input, output });
  const answer = await new Promise<string | undefined>((resolve) => {
    // Ctrl-C closes it too, as nobody listens to its `SIGINT`.
    terminal.once('close', () => resolve(undefined));
    terminal.question(question, resolve);
  });
  terminal.close();
  return answer?.trim();
}
