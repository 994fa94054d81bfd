/** "Did you mean …": the known word nearest to a misspelt one, if one is near at all. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** The same for names of several words, of which somebody may know one: those that have it, too. */
function nearOnes(word: string, known: readonly string[]): string[] {
  const near = nearest(word, known);
  const asked = word.toLowerCase();
  const having = asked.length < 3 ? [] : known.filter((one) => one !== near && `-${one}-`.includes(`-${asked}-`));
  return near === undefined ? having : [near, ...having];
}

/** The end of a sentence about a word that is not known: `; did you mean "a" or "b"?`, or a full stop. */
export function suggestion(word: string, known: readonly string[]): string {
  const near = nearOnes(word, known).map((one) => JSON.stringify(one));
  return near.length === 0 ? '.' : `; did you mean ${near.join(' or ')}?`;
}

/** Insertions, deletions, replacements, and two neighbours changing places. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    before = above;
    above = row;
  }
  return above[b.length] ?? 0;
}
