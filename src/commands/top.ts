/**
 * `tailrace top`: a running engine, looked at once a second until `q`, on a screen of its own that leaves the terminal as it was. Without a terminal,
 * or with `--once`, one picture. An engine that does not answer any more is asked on: it may be starting again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { addressOfNamed } from './engine-address.ts';
import type { NamedEngine } from './engine-address.ts';
import type { StatusReport } from '../observe/status.ts';
import { Pace } from '../terminal/pace.ts';
import { styleOf, terminalKind } from '../terminal/style.ts';
import { topView, withinRows } from '../terminal/top-view.ts';
import { askEngine } from './ask-engine.ts';
import { asJson, toStdout } from './output.ts';

export interface TopOptions extends NamedEngine {
  readonly once: boolean;
  readonly json: boolean;
}

const LOOK_EVERY_MS = 1_000;

export async function top(options: TopOptions): Promise<number> {
  const engine = await addressOfNamed(options);
  const look = async (signal?: AbortSignal): Promise<StatusReport> =>
    // Its own answer to its own question.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    (await askEngine(engine, '/status', { signal })) as StatusReport;
  const first = await look();
  if (options.json) {
    toStdout(asJson(first));
    return 0;
  }
  const { colours, redraws } = terminalKind(process.stdout, process.env);
  const style = styleOf(colours);
  const pace = new Pace();
  pace.add(first, performance.now());
  if (options.once || !redraws) {
    await sleep(LOOK_EVERY_MS);
    const report = await look();
    pace.add(report, performance.now());
    toStdout(`${topView({ report, pace, url: engine.url, style }).join('\n')}\n`);
    return 0;
  }
  const quit = new AbortController();
  using screen = ownScreen(() => quit.abort());
  let report = first;
  let trouble: string | undefined;
  const draw = (): void => {
    const { rows } = process.stdout;
    screen.draw(
      withinRows([...topView({ report, pace, url: engine.url, style, trouble }), '', style.dim('q quits')], rows),
    );
  };
  process.stdout.on('resize', draw);
  try {
    draw();
    while (!quit.signal.aborted) {
      await sleep(LOOK_EVERY_MS, undefined, { signal: quit.signal });
      try {
        report = await look(quit.signal);
        pace.add(report, performance.now());
        trouble = undefined;
      } catch (error) {
        trouble = error instanceof Error ? error.message : String(error);
      }
      draw();
    }
  } catch (error) {
    if (!quit.signal.aborted) throw error;
  } finally {
    process.stdout.off('resize', draw);
  }
  return 0;
}

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const QUIT_KEYS = new Set(['q', 'Q', '\x03', '\x04', '\x1b']);

interface OwnScreen extends Disposable {
  draw(lines: readonly string[]): void;
}

/** Until disposed, or the process ends. */
function ownScreen(onQuit: () => void): OwnScreen {
  const { stdin, stdout } = process;
  const onKeys = (keys: Buffer): void => {
    if (QUIT_KEYS.has(keys.toString())) onQuit();
  };
  const leave = (): void => void stdout.write(LEAVE);
  process.on('exit', leave);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onQuit);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', onKeys);
  stdout.write(ENTER);
  return {
    draw: (lines) => stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`),
    [Symbol.dispose]() {
      process.off('exit', leave);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onQuit);
      stdin.off('data', onKeys);
      if (stdin.isTTY) stdin.setRawMode(false);
      stdin.pause();
      leave();
    },
  };
}
