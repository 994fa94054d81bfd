/**
 * Server-sent events, read from an answer's body: a browser's own `EventSource` cannot show a token. Only as much of the format as the
 * engine writes: `event`, `data`, comments.
 */

export interface Told {
  /** Empty where it has none. */
  readonly event: string;
  readonly data: string;
}

/** Takes text as it comes, in pieces cut anywhere, and gives what is whole. */
export class EventReader {
  #rest = '';

  take(text: string): Told[] {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    return blocks.flatMap((block) => {
      const lines = block.split('\n');
      const of = (field: string): string[] =>
        lines
          .filter((line) => line.startsWith(`${field}:`))
          .map((line) => line.slice(field.length + 1).replace(/^ /, ''));
      const data = of('data');
      return data.length === 0 ? [] : [{ event: of('event').at(-1) ?? '', data: data.join('\n') }];
    });
  }
}
