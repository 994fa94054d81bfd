/** Where commands write what they were asked for; tests give them something else. */
export function toStdout(text: string): void {
  process.stdout.write(text);
}

export function toStderr(text: string): void {
  process.stderr.write(text);
}
