/**
 * Where a command's log goes: JSON lines to a pipe, a file, or whoever asks for JSON; readable ones to a terminal, with the engine's live lines
 * below them where the terminal can draw.
 */
import { isatty } from 'node:tty';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import { stderrLines } from '../observe/log.ts';
import type { LogOutput } from '../observe/log.ts';
import type { StatusReport } from '../observe/status.ts';
import { BelowLog } from './below-log.ts';
import { liveLines } from './live-lines.ts';
import { Pace } from './pace.ts';
import { readableLine } from './readable-log.ts';
import { stderrScreen } from './stderr-screen.ts';
import { styleOf, terminalKind } from './style.ts';

const STDERR = 2;
/**
 * How often the engine is asked how it is. A status of 3 sources and 12 subscriptions with 16 lanes each takes 0.2
 * to 0.5 ms of a core (Xeon), its lines 0.1 to 0.3: a thousandth of the main thread.
 */
const LOOK_EVERY_MS = 500;
/** Lines of the log that stay in sight. */
const ROWS_LEFT = 4;

export interface TerminalLog extends LogOutput {
  /** Until disposed; undefined where nothing may be drawn. */
  readonly showLive: ((engine: { status(): StatusReport }) => AsyncDisposable) | undefined;
}

export interface TerminalLogOptions {
  readonly json?: boolean;
  readonly live?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

export function terminalLog({ json = false, live = false, env = process.env }: TerminalLogOptions = {}): TerminalLog {
  const direct = stderrLines();
  const { isTerminal, colours, redraws } = terminalKind({ isTTY: isatty(STDERR) }, env);
  if (json || !isTerminal) return { write: (line) => direct.write(line), showLive: undefined };
  const style = styleOf(colours);
  let below: BelowLog | undefined;
  const showLive = (engine: { status(): StatusReport }): AsyncDisposable => {
    const opened = new BelowLog(stderrScreen);
    below = opened;
    const pace = new Pace();
    const look = (): void => {
      const report = engine.status();
      pace.add(report, performance.now());
      opened.show(({ columns, rows }) =>
        liveLines({ report, pace, columns: columns - 1, rows: rows - ROWS_LEFT, style }).map(withoutKnownSecrets),
      );
    };
    const timer = setInterval(look, LOOK_EVERY_MS);
    const onResize = (): void => opened.redraw();
    const onContinue = (): void => opened.forget();
    process.stderr.on('resize', onResize);
    process.on('SIGCONT', onContinue);
    look();
    return {
      async [Symbol.asyncDispose]() {
        clearInterval(timer);
        process.stderr.off('resize', onResize);
        process.off('SIGCONT', onContinue);
        below = undefined;
        await opened[Symbol.asyncDispose]();
      },
    };
  };
  return {
    write(line) {
      const text = readableLine(line, style);
      if (below) below.log(text);
      else direct.write(text);
    },
    showLive: live && redraws ? showLive : undefined,
  };
}
