/** Examples in the pages are what the program takes: pieces of configuration, and command lines. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { readConfig } from '../../src/config/load.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLI = join(ROOT, 'dist/cli.js');
/** Values of placeholders; what else a placeholder names is some text. */
const ENV = { MONGODB_URI: 'mongodb://localhost/?replicaSet=rs0', AMQP_URI: 'amqp://localhost' };
const SECTIONS = new Set(['sources', 'sinks', 'subscriptions', 'pipeline', 'checkpoint', 'parked', 'http', 'log']);

test('every piece of configuration in the pages is accepted', async () => {
  let pieces = 0;
  for (const [page, text] of await pages()) {
    for (const [, yaml = ''] of text.matchAll(/^```yaml\n([\s\S]*?)^```/gm)) {
      pieces += 1;
      await assert.doesNotReject(readConfig(wholeOf(yaml), ENV), `${page}:\n${yaml}`);
    }
  }
  assert.ok(pieces > 10);
});

test('every command line in the pages is one that there is, with options that it has', async () => {
  const lines = new Map<string, string>();
  for (const [page, text] of await pages()) {
    const shells = [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) => block.split('\n'));
    const spoken = [...text.matchAll(/`([^`\n]*tailrace [^`\n]*)`/g)].map(([, code = '']) => code);
    for (const line of [...shells, ...spoken]) {
      const [, command] = /(?:^|npx )tailrace ([a-z][^#|>]*)/.exec(line) ?? [];
      if (command !== undefined) lines.set(command.trim(), page);
    }
  }
  assert.ok(lines.size > 30);
  const wrong: string[] = [];
  const helps = new Map<string, Promise<string>>();
  for (const [line, page] of lines) {
    const words = line.split(/\s+/);
    for (const command of commandsIn(words)) {
      if (!helps.has(command)) helps.set(command, helpOf(command));
      const help = await helps.get(command)!;
      const options = words.filter((word) => /^\[?-{1,2}[a-z]/.test(word)).map((word) => word.replaceAll(/[[\]]/g, ''));
      const unknown = options.filter((option) => !new RegExp(`^ +.*(?<![\\w-])${option}(?![\\w-])`, 'm').test(help));
      if (help === '') wrong.push(`${page}: tailrace ${line}`);
      else if (unknown.length > 0) wrong.push(`${page}: tailrace ${line}: ${unknown.join(' ')}`);
    }
  }
  assert.deepEqual(wrong, []);
});

async function pages(): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(join(ROOT, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
  const paths = ['README.md', ...names.map((name) => join('docs', name))];
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(ROOT, path), 'utf8')] as const)),
  );
}

/** What a piece leaves out is the least that a file must have; without sections it is of a subscription, or of its `to`. */
function wholeOf(yaml: string): object {
  const filled = yaml.replaceAll(/\$\{(?!MONGODB_URI|AMQP_URI)[^}]+\}/g, 'a-text-of-some-length');
  // Placed by what it begins with, not by what it may be: a name that nothing knows shall be a fault.
  const piece = parse(filled) as Record<string, unknown>;
  const [first = ''] = Object.keys(piece);
  const isWhole = SECTIONS.has(first);
  const sources = (piece['sources'] as object | undefined) ?? { shop: { uri: ENV.MONGODB_URI } };
  const to = { exchange: 'changes', ...(first === 'queues' && piece) };
  const subscription = {
    name: 'orders',
    source: Object.keys(sources)[0],
    namespaces: ['shop.*'],
    to,
    ...(!isWhole && first !== 'queues' && piece),
  };
  return {
    sources,
    sinks: { rabbit: { uri: ENV.AMQP_URI } },
    subscriptions: [subscription],
    ...(isWhole && piece),
  };
}

/** `tailrace ctl pause | resume NAME` speaks of two. */
function commandsIn(words: readonly string[]): string[] {
  const [first = ''] = words;
  if (!['checkpoint', 'parked', 'ctl', 'snapshot'].includes(first)) return [first];
  const rest = words.slice(1).filter((word) => /^[a-z]+$/.test(word));
  return rest.length === 0 ? [first] : [`${first} ${rest[0]}`];
}

/** Empty where there is no such command. */
async function helpOf(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...command.split(' '), '--help']);
  // Asked for the help of what it does not know, a group shows its own.
  return stdout.startsWith(`Usage: tailrace ${command} `) ? stdout : '';
}
