/**
 * Keeps some lines at the bottom of a terminal while a log scrolls by above them.
 * Invariants: nobody waits for the terminal, which may stand still (Ctrl-S): one write is under way at a time, on another thread, and lines that
 * could not be drawn give way to newer ones; the log's lines all come, in order, as long as there is room for them; lines are drawn four times
 * a second at most; closed, it leaves the log and nothing else.
 */

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface Screen {
  readonly size: Size;
  /** Resolves once it is written. */
  write(text: string): Promise<void>;
  /** At once, for a process that ends; may write less. */
  writeNow(text: string): void;
}

/** No line may be longer than there are columns, nor may there be more of them than rows. */
export type Draw = (size: Size) => readonly string[];

const DRAW_EVERY_MS = 250;
/** Of a log that the terminal does not take; later lines are dropped. */
const MOST_WAITING = 1_000_000;

export class BelowLog implements AsyncDisposable {
  readonly #screen: Screen;
  #draw: Draw | undefined;
  /** What was drawn is not what would be now. */
  #stale = false;
  #drawnRows = 0;
  #drawnAt = -Infinity;
  #log = '';
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  readonly #onExit = (): void => this.#end();

  constructor(screen: Screen) {
    this.#screen = screen;
    process.on('exit', this.#onExit);
  }

  /** Whole lines. */
  log(text: string): void {
    if (this.#log.length < MOST_WAITING) this.#log += text;
    this.#flush();
  }

  show(draw: Draw): void {
    this.#draw = draw;
    this.redraw();
  }

  /** The terminal has another size. */
  redraw(): void {
    this.#stale = true;
    this.#flush();
  }

  /** Something else has written: what was drawn is not where it was. */
  forget(): void {
    this.#drawnRows = 0;
    this.redraw();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#writing;
    process.off('exit', this.#onExit);
    this.#end();
  }

  #end(): void {
    this.#closed = true;
    this.#draw = undefined;
    const text = this.#frame(true);
    if (text !== '') this.#screen.writeNow(text);
  }

  #flush(): void {
    if (this.#writing || this.#closed) return;
    const waitMs = this.#drawnAt + DRAW_EVERY_MS - performance.now();
    if (this.#stale && waitMs > 0) this.#timer ??= setTimeout(() => this.#onTime(), waitMs);
    if (this.#log === '' && !(this.#stale && waitMs <= 0)) return;
    const text = this.#frame(waitMs <= 0);
    this.#writing = this.#screen.write(text).finally(() => {
      this.#writing = undefined;
      this.#flush();
    });
  }

  #onTime(): void {
    this.#timer = undefined;
    this.#flush();
  }

  #frame(draws: boolean): string {
    const erased = this.#drawnRows === 0 ? '' : `\x1b[${this.#drawnRows}A\r\x1b[J`;
    const log = this.#log;
    this.#log = '';
    const lines = draws ? (this.#draw?.(this.#screen.size) ?? []) : [];
    if (draws) this.#drawnAt = performance.now();
    // Those that the log has just taken away come again as soon as they may.
    this.#stale = !draws && (this.#stale || this.#drawnRows > 0);
    if (this.#stale) this.#timer ??= setTimeout(() => this.#onTime(), DRAW_EVERY_MS);
    this.#drawnRows = lines.length;
    // A character that is wider than we think must not take a second row: the terminal cuts.
    const drawn = lines.length === 0 ? '' : `\x1b[?7l${lines.map((one) => `${one}\n`).join('')}\x1b[?7h`;
    return erased + log + drawn;
  }
}
