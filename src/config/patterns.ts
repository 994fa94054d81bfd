/**
 * Namespace patterns over "db.coll": `*` stands for any characters, dots too, and a leading `!` excludes, wherever it
 * stands in the list. Here is what has to be known of them before anything runs: are they well formed, and can two lists
 * match the same namespace.
 */

export interface PatternList {
  readonly includes: readonly string[];
  readonly excludes: readonly string[];
}

export function splitPatterns(patterns: readonly string[]): PatternList {
  return {
    includes: patterns.filter((pattern) => !pattern.startsWith('!')),
    excludes: patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1)),
  };
}

/** What is wrong with one pattern: the sentence that says what is expected; undefined when it is fine. */
export function patternFault(written: string): string | undefined {
  const excluding = written.startsWith('!');
  const pattern = excluding ? written.slice(1) : written;
  if (pattern === '') return 'a pattern such as "shop.orders", "shop.*" or "!shop.tmp_*"';
  if (pattern.startsWith('!')) return 'one "!" at most';
  if (pattern.includes('\0') || pattern !== pattern.trim()) {
    return 'a pattern without spaces around it';
  }
  // A star may hold the dot: "shop*" can match, "shop" never does.
  const dot = pattern.indexOf('.');
  if (dot === 0) return '"db.coll" with a database before the dot';
  if (!pattern.includes('*')) {
    if (dot === -1) return '"db.coll" (a whole database is "db.*")';
    if (dot === pattern.length - 1) return '"db.coll" with a collection behind the dot (a whole database is "db.*")';
  }
  if (!excluding && pattern.includes('system.buckets')) {
    return (
      'no `system.buckets.…`: those hold time-series collections in a packed form that has no change events ' +
      '(MongoDB offers none for them either); leave it out'
    );
  }
  return undefined;
}

/** Linear in practice: on a mismatch only the last star is tried again one character further. */
function globMatches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let mark = 0;
  while (t < text.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star !== -1) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Is there a text that both match? Walks both at once; a star may swallow what the other one demands. */
export function globsIntersect(a: string, b: string): boolean {
  const width = b.length + 1;
  const seen = new Uint8Array((a.length + 1) * width);
  const stack = [0];
  while (stack.length > 0) {
    const state = stack.pop() ?? 0;
    if (seen[state] === 1) continue;
    seen[state] = 1;
    const i = Math.floor(state / width);
    const j = state % width;
    if (i === a.length && j === b.length) return true;
    const inA = a[i];
    const inB = b[j];
    if (inA === '*') {
      stack.push(state + width);
      if (j < b.length) stack.push(state + 1);
    }
    if (inB === '*') {
      stack.push(state + 1);
      if (i < a.length) stack.push(state + width);
    }
    if (inA !== undefined && inA === inB) stack.push(state + width + 1);
  }
  return false;
}

/**
 * Does `outer` match everything that `inner` matches? A star of `inner` is taken for a character that only a star of
 * `outer` can match.
 */
function globCovers(outer: string, inner: string): boolean {
  return globMatches(outer, inner);
}

/**
 * The first pair of includes (as indices) through which both lists may match one namespace. Never misses one; of excludes
 * only those are honoured that take a whole pattern away, so it may name a pair that several excludes together rule out.
 */
export function overlapOf(a: PatternList, b: PatternList): { readonly a: number; readonly b: number } | undefined {
  const excludes = [...a.excludes, ...b.excludes];
  const excluded = (pattern: string): boolean => excludes.some((exclude) => globCovers(exclude, pattern));
  for (const [i, left] of a.includes.entries()) {
    if (excluded(left)) continue;
    for (const [j, right] of b.includes.entries()) {
      if (!excluded(right) && globsIntersect(left, right)) return { a: i, b: j };
    }
  }
  return undefined;
}
