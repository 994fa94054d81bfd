/** Colours, where the terminal has them and nobody objects (https://no-color.org). */
export interface Style {
  readonly dim: (text: string) => string;
  readonly good: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly bold: (text: string) => string;
}

export function styleOf(colours: boolean): Style {
  const within = (begin: number, end: number) => (text: string) =>
    colours && text !== '' ? `\x1b[${begin}m${text}\x1b[${end}m` : text;
  return {
    dim: within(2, 22),
    good: within(32, 39),
    warning: within(33, 39),
    bad: within(31, 39),
    bold: within(1, 22),
  };
}

/** What the environment says of the terminal that a stream is. */
export interface TerminalKind {
  readonly isTerminal: boolean;
  readonly colours: boolean;
  /** Lines may be drawn over each other. */
  readonly redraws: boolean;
}

export function terminalKind(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): TerminalKind {
  const isTerminal = stream.isTTY === true;
  const says = (name: string): boolean => env[name] !== undefined && env[name] !== '';
  const isPlain = says('NO_COLOR') || env['TERM'] === 'dumb' || env['TERM'] === undefined;
  return { isTerminal, colours: isTerminal && !isPlain, redraws: isTerminal && !isPlain && !says('CI') };
}
