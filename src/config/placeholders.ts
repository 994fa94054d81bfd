/**
 * Fills in `${NAME}` from the environment and `${file:PATH}` from a file, and remembers which values they went into:
 * those are never shown. What was filled in is not looked through again.
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileErrorCode } from './file-error.ts';
import type { ConfigDocument } from './document.ts';
import type { ConfigFaults, Path } from './faults.ts';

const PLACEHOLDER = /\$\{([^{}]*)\}/g;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

export interface Expanded {
  readonly values: unknown;
  /** Is the value at this path, or one inside it, secret? */
  isSecret(path: Path): boolean;
}

export interface ExpandOptions {
  readonly document: ConfigDocument;
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly faults: ConfigFaults;
}

export async function expand(values: unknown, { document, folder, env, faults }: ExpandOptions): Promise<Expanded> {
  const secrets = new Set<string>();

  const lookUp = async (name: string): Promise<{ value: string } | { fault: string }> => {
    if (name.startsWith('file:')) {
      const path = resolve(folder, name.slice('file:'.length).trim());
      try {
        // Editors and `echo` end a file with a line feed that nobody means.
        return { value: (await readFile(path, 'utf8')).replace(/\r?\n$/, '') };
      } catch (error) {
        return {
          fault: `the file ${path} cannot be read (${fileErrorCode(error)})`,
        };
      }
    }
    if (!VARIABLE.test(name)) return { fault: 'a placeholder is ${NAME} or ${file:PATH}' };
    const value = env[name];
    return value === undefined ? { fault: `the environment variable ${name} is not set` } : { value };
  };

  const expandText = async (text: string, path: Path): Promise<unknown> => {
    if (!text.includes('${')) return text;
    secrets.add(keyOf(path));
    let filled = '';
    let end = 0;
    let faulty = false;
    const fault = (expected: string): void => {
      faulty = true;
      faults.add({ path, at: document.locate(path), found: undefined, expected });
    };
    const matches = [...text.matchAll(PLACEHOLDER)];
    if (text.replaceAll(PLACEHOLDER, '').includes('${'))
      fault('a placeholder is ${NAME} or ${file:PATH}, with its closing brace');
    for (const match of matches) {
      const found = await lookUp(match[1] ?? '');
      if ('fault' in found) fault(found.fault);
      else filled += text.slice(end, match.index) + found.value;
      end = match.index + match[0].length;
    }
    return faulty ? UNFILLED : filled + text.slice(end);
  };

  const walk = async (value: unknown, path: Path): Promise<unknown> => {
    if (typeof value === 'string') return expandText(value, path);
    if (Array.isArray(value)) {
      const list: unknown[] = [];
      for (const [i, item] of value.entries()) list.push(await walk(item, [...path, i]));
      return list;
    }
    if (typeof value === 'object' && value !== null) {
      const entries: [string, unknown][] = [];
      for (const [key, item] of Object.entries(value)) entries.push([key, await walk(item, [...path, key])]);
      return Object.fromEntries(entries);
    }
    return value;
  };

  return { values: await walk(values, []), isSecret: (path) => secrets.has(keyOf(path)) };
}

/** Stands for a value whose placeholder could not be filled in: that is one fault, and must not become a second one. */
export const UNFILLED: unique symbol = Symbol('unfilled');

function keyOf(path: Path): string {
  return JSON.stringify(path);
}
