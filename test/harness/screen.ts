const ESC = '\x1b';
const TOKEN = new RegExp(
  String.raw`${ESC}\[(?<kind>\??)(?<number>\d*)(?<final>[A-Za-z])|${ESC}(?:\[[\d?]*)?$|[^]`,
  'gu',
);

/**
 * What a person would see: a terminal that knows the few control sequences we use, and fails on any other. What has scrolled away is kept.
 */
export class FakeScreen {
  #columns: number;
  #rows: number;
  #lines: string[][] = [[]];
  /** The first row on the screen is this one of `#lines`. */
  #top = 0;
  #row = 0;
  #column = 0;
  #wraps = true;
  #main: { lines: string[][]; top: number; row: number } | undefined;
  #rest = '';
  cursorShown = true;

  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#rows = rows;
  }

  get isAlternate(): boolean {
    return this.#main !== undefined;
  }

  /** Everything there is, with what has scrolled away. */
  get text(): string[] {
    const lines = this.#lines.map((line) =>
      Array.from(line, (one) => one ?? ' ')
        .join('')
        .trimEnd(),
    );
    while (lines.at(-1) === '') lines.pop();
    return lines;
  }

  /** What is in sight. */
  get visible(): string[] {
    return this.text.slice(this.#top);
  }

  resize(columns: number, rows: number): void {
    this.#columns = columns;
    this.#rows = rows;
    this.#top = Math.max(this.#top, this.#row - rows + 1);
  }

  feed(text: string): void {
    const input = this.#rest + text;
    this.#rest = '';
    for (const { 0: whole, groups, index } of input.matchAll(TOKEN)) {
      if (groups?.['final'] !== undefined) this.#control(groups['kind']! + groups['final'], groups['number']!);
      else if (whole.startsWith(ESC)) {
        if (index + whole.length < input.length)
          throw new Error(`an unknown sequence: ${JSON.stringify(input.slice(index, index + 9))}`);
        this.#rest = whole;
      } else this.#put(whole);
    }
  }

  #control(what: string, written: string): void {
    const number = written === '' ? 1 : Number(written);
    switch (what) {
      case 'm':
        return;
      case 'A':
        this.#row = Math.max(this.#top, this.#row - number);
        return;
      case 'G':
        this.#column = number - 1;
        return;
      case 'H':
        [this.#row, this.#column] = [this.#top, 0];
        return;
      case 'K':
        this.#lines[this.#row]!.length = Math.min(this.#lines[this.#row]!.length, this.#column);
        return;
      case 'J':
        this.#lines.length = this.#row + 1;
        this.#lines[this.#row]!.length = Math.min(this.#lines[this.#row]!.length, this.#column);
        return;
      case '?h':
      case '?l':
        this.#mode(number, what === '?h');
        return;
      default:
        throw new Error(`an unknown sequence: ${what}`);
    }
  }

  #mode(number: number, on: boolean): void {
    switch (number) {
      case 7:
        this.#wraps = on;
        return;
      case 25:
        this.cursorShown = on;
        return;
      case 1049:
        if (on) {
          this.#main = { lines: this.#lines, top: this.#top, row: this.#row };
          [this.#lines, this.#top, this.#row, this.#column] = [[[]], 0, 0, 0];
        } else if (this.#main) {
          ({ lines: this.#lines, top: this.#top, row: this.#row } = this.#main);
          this.#column = 0;
          this.#main = undefined;
        }
        return;
      default:
        throw new Error(`an unknown mode: ${number}`);
    }
  }

  #put(character: string): void {
    if (character === '\r') this.#column = 0;
    else if (character === '\n') this.#down();
    else {
      if (this.#column >= this.#columns) {
        if (this.#wraps) {
          this.#down();
          this.#column = 0;
        } else this.#column = this.#columns - 1;
      }
      this.#lines[this.#row]![this.#column] = character;
      this.#column += 1;
    }
  }

  #down(): void {
    this.#row += 1;
    if (this.#row === this.#lines.length) this.#lines.push([]);
    this.#top = Math.max(this.#top, this.#row - this.#rows + 1);
  }
}
