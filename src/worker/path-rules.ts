/**
 * Which of a subscription's dotted paths a field's path meets. One way of reading holds for whole documents and for the
 * texts of updates, which do not tell a field called "x.y" from a `y` inside `x`, nor a position in an array from a field
 * called "0": every name is cut at its dots, and a number behind the first part is passed over unless a path names it.
 * So a path meets too much rather than too little; that is what must stay true, because secrets hang on it.
 * Texts here are UTF-8 read as Latin-1: every byte is a character, and none is lost.
 */

export interface PathNode {
  /** The number of what a path that ends here asks for; -1 where none ends. */
  action: number;
  readonly children: Map<string, PathNode>;
  /** 1 for the bytes with which its children's names begin. */
  readonly firsts: Uint8Array;
}

/** Where among the paths one stands; several places at once where numbers can be passed over. */
export type Places = readonly PathNode[];

export type Match =
  /** A path ends at the first `end` characters of the text. */
  | { readonly kind: 'covered'; readonly action: number; readonly end: number }
  /** Paths lead further down. */
  | { readonly kind: 'above'; readonly places: Places }
  | { readonly kind: 'apart' };

export const DOT = 0x2e;

const APART: Match = { kind: 'apart' };

export function latin1(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Of several paths that end at one place, the one with the lowest action counts. */
export function pathTree(paths: readonly { readonly path: string; readonly action: number }[]): PathNode {
  const root = emptyNode();
  for (const { path, action } of paths) {
    let node = root;
    for (const part of latin1(path).split('.')) {
      let child = node.children.get(part);
      if (child === undefined) {
        child = emptyNode();
        node.children.set(part, child);
        node.firsts[part === '' ? DOT : part.charCodeAt(0)] = 1;
      }
      node = child;
    }
    if (node.action < 0 || action < node.action) node.action = action;
  }
  return root;
}

function emptyNode(): PathNode {
  return { action: -1, children: new Map(), firsts: new Uint8Array(256) };
}

/**
 * False where a name that begins with this byte, which is no number, meets no path: to ask costs a tenth of making a text of the
 * name for `meet` (bench `encode`, where + mask). An empty name has no first byte, and is to be given to `meet`.
 */
export function mayMeet(places: Places, first: number, top: boolean): boolean {
  if (!top && first >= 0x30 && first <= 0x39) return true;
  for (const { firsts } of places) if (firsts[first] === 1) return true;
  return false;
}

/** Goes down by a name, or by a whole path. `top`: the text begins at a document's top, where no array can be. */
export function meet(from: Places, text: string, top: boolean): Match {
  let places = from;
  for (let start = 0, first = top; ; first = false) {
    const dot = text.indexOf('.', start);
    const end = dot < 0 ? text.length : dot;
    places = down(places, text.slice(start, end), first);
    if (places.length === 0) return APART;
    let action = -1;
    for (const node of places) if (node.action >= 0 && (action < 0 || node.action < action)) action = node.action;
    if (action >= 0) return { kind: 'covered', action, end };
    if (dot < 0) return { kind: 'above', places };
    start = dot + 1;
  }
}

function down(places: Places, part: string, first: boolean): PathNode[] {
  const next: PathNode[] = [];
  const passable = !first && /^\d+$/.test(part);
  for (const node of places) {
    const child = node.children.get(part);
    if (child !== undefined) next.push(child);
    if (passable && !next.includes(node)) next.push(node);
  }
  return next;
}
