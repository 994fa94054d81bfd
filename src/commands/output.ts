/** Where commands write what they were asked for; tests give them something else. */
export function toStdout(text: string): void {
  process.stdout.write(text);
}

export function toStderr(text: string): void {
  process.stderr.write(text);
}

export function asJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/**
 * Where a command says what a person should know. With `--json` that is the object at its end, and before only what somebody has to know who is
 * asked whether to go on.
 */
export function talk({ json, yes, write }: { json: boolean; yes: boolean; write: (text: string) => void }) {
  if (!json) return write;
  return yes ? (): void => undefined : toStderr;
}
