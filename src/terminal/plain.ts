/**
 * Words of servers and of files go to a terminal as plain text: what looks like a terminal's control sequence in them must move no cursor
 * and change no colour. `\n` stays only where the caller says so.
 */
export function plain(text: string, { lines = false } = {}): string {
  return text.replaceAll(lines ? /[^\P{C}\n]+/gu : /\p{C}+/gu, ' ');
}

/** In so many columns, with an ellipsis where there is more. */
export function cut(text: string, columns: number): string {
  const characters = Array.from(text);
  return characters.length <= columns ? text : `${characters.slice(0, Math.max(0, columns - 1)).join('')}…`;
}
