/** A command at a terminal: what is on its screen, keys for it, and another size in the middle. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FakeScreen } from './screen.ts';

const SCRIPT = fileURLToPath(new URL('at-terminal.py', import.meta.url));
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

interface AtTerminalOptions {
  readonly cwd: string;
  readonly columns: number;
  readonly rows: number;
  readonly env?: NodeJS.ProcessEnv;
}

export class AtTerminal implements AsyncDisposable {
  readonly screen: FakeScreen;
  /** All that came, as it came. */
  raw = '';
  readonly exit: Promise<number | null>;
  readonly #child: ChildProcess;

  /** `tailrace …` */
  constructor(args: readonly string[], { cwd, columns, rows, env = {} }: AtTerminalOptions) {
    this.screen = new FakeScreen(columns, rows);
    const { NO_COLOR: _no, CI: _ci, ...inherited } = process.env;
    this.#child = spawn('python3', [SCRIPT, String(columns), String(rows), process.execPath, CLI, ...args], {
      cwd,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...inherited, TERM: 'xterm-256color', ...env },
    });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.raw += text;
      this.screen.feed(text);
    });
    this.exit = new Promise((resolve) => this.#child.once('close', resolve));
  }

  type(keys: string): void {
    this.#tell(['type', keys]);
  }

  resize(columns: number, rows: number): void {
    this.screen.resize(columns, rows);
    this.#tell(['resize', columns, rows]);
  }

  /** The whole screen, for the message of a test that fails. */
  get shown(): string {
    return this.screen.text.join('\n');
  }

  #tell(what: readonly unknown[]): void {
    this.#child.stdin!.write(`${JSON.stringify(what)}\n`);
  }

  /** The terminal goes away, and with it what runs at it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.exit;
  }
}
