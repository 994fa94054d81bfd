/**
 * Namespace patterns, as users write them: `*` stands for any characters, dots too; one that begins with `!` excludes, and
 * wins wherever it stands. A list of nothing but exclusions matches nothing.
 */
export type Matcher = (ns: string) => boolean;

export function compilePatterns(patterns: readonly string[]): Matcher {
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!')).map(toRegExp);
  const unwanted = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => toRegExp(pattern.slice(1)));
  return (ns) => wanted.some((pattern) => pattern.test(ns)) && !unwanted.some((pattern) => pattern.test(ns));
}

function toRegExp(pattern: string): RegExp {
  const parts = pattern.split(/\*+/u).map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|/]/gu, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}$`, 'su');
}
