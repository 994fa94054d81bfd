/**
 * The file as YAML: its plain values, and where in the text each of them stands. A syntax fault is told in words of our
 * own, because the parser's quote the text, and a password may be in it.
 */
import { LineCounter, isAlias, isMap, isNode, isScalar, isSeq, parseDocument, visit } from 'yaml';
import type { Document, ErrorCode } from 'yaml';
import { redactedKey } from './faults.ts';
import type { ConfigFaults, Fault, Path } from './faults.ts';

export class ConfigDocument {
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;

  constructor(document: Document.Parsed, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  /** Plain values as YAML 1.2 has them: dates stay strings. Undefined where anchors and aliases run in circles or wild. */
  values(): unknown {
    try {
      const values: unknown = this.#document.toJS({ maxAliasCount: 100 });
      JSON.stringify(values);
      return values;
    } catch {
      return undefined;
    }
  }

  /** Of the setting itself: its key where it has one; of what is missing: the nearest thing around it. */
  locate(path: Path): Fault['at'] {
    const offset = this.#offset(path);
    return offset === undefined ? undefined : place(this.#lines, offset);
  }

  #offset(path: Path): number | undefined {
    let node: unknown = this.#document.contents;
    let offset = startOf(node);
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(this.#document);
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
        if (pair === undefined) return offset;
        offset = startOf(pair.key) ?? offset;
        node = pair.value;
      } else if (isSeq(node) && typeof step === 'number' && node.items[step] !== undefined) {
        node = node.items[step];
        offset = startOf(node) ?? offset;
      } else {
        return offset;
      }
    }
    return offset;
  }
}

/** Undefined, with faults added, where it is no YAML. */
export function readDocument(text: string, faults: ConfigFaults): ConfigDocument | undefined {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error',
    stringKeys: true,
  });
  // A tag that YAML does not know is a warning to the parser; here it is a pattern that lacks its quotes.
  for (const { code, pos } of [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0])) {
    const open = code === 'BAD_INDENT' ? unclosedBefore(pos[0], text, document) : undefined;
    if (open !== undefined) {
      const { line } = lines.linePos(pos[0]);
      faults.add({ path: [], at: place(lines, open), found: undefined, expected: unclosed(text[open]!, line) });
      break;
    }
    const known = code === 'DUPLICATE_KEY' ? duplicate(text.slice(pos[0])) : WORDS[code];
    faults.add({ path: [], at: place(lines, pos[0]), found: undefined, expected: known ?? UNREADABLE });
    // Behind it the parser guesses, and each of its guesses would be another fault.
    if (known === undefined) break;
  }
  if (faults.count > 0) return undefined;
  return new ConfigDocument(document, lines);
}

/** Of the innermost collection in braces or brackets that ends there, and without its own. */
function unclosedBefore(end: number, text: string, document: Document.Parsed): number | undefined {
  let open: number | undefined;
  visit(document, {
    Collection(_, { flow, range }) {
      if (flow && range && range[0] < end && range[1] <= end && !/[}\]]/.test(text[range[1] - 1] ?? ''))
        open = range[0];
    },
  });
  return open;
}

function unclosed(bracket: string, line: number): string {
  const closing = bracket === '{' ? '}' : ']';
  return `a \`${closing}\` for the \`${bracket}\` that is opened here; there is none before line ${line}`;
}

function place(lines: LineCounter, offset: number): Fault['at'] {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

const QUOTES =
  'not understood as YAML: a text that begins with `*` or `!` needs quotes, as in "*.orders" and "!shop.tmp_*"';
const INDENTATION =
  'not understood as YAML: the indentation is wrong (spaces only, the same for all keys of a mapping)';

const WORDS: Readonly<Partial<Record<ErrorCode, string>>> = {
  TAG_RESOLVE_FAILED: QUOTES,
  BAD_ALIAS: QUOTES,
  ALIAS_PROPS: QUOTES,
  MULTIPLE_TAGS: QUOTES,
  BAD_INDENT: INDENTATION,
  TAB_AS_INDENT: INDENTATION,
  MULTIPLE_DOCS: 'not one YAML document but several: a line with --- begins another',
  BAD_DQ_ESCAPE: 'not understood as YAML: an unknown escape with \\ in double quotes (use single quotes, or \\\\)',
  MISSING_CHAR:
    'not understood as YAML: something is missing here, such as a closing quote or bracket, a comma, or the space behind a colon',
};

const UNREADABLE =
  'not understood as YAML from here on: a text with braces, brackets or ": " in it needs quotes (`${NAME}` does, inside { … })';

function duplicate(text: string): string {
  return `the key ${redactedKey(/^[^:\s]+/.exec(text)?.[0] ?? '')} is there twice in the same mapping`;
}
