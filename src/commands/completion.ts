/**
 * `tailrace completion SHELL`: a script for bash, zsh or fish that completes commands, options and those values that are known beforehand. It
 * is made from the command line itself, so that what is added there completes by itself, and asks nothing when TAB is pressed.
 * In every shell it works alike: the words so far lead to a command ("checkpoint show"), and that command has its words.
 */
import type { Argument, Command, Option } from 'commander';
import { CODES } from '../codes.ts';
import { PARK_REASONS } from '../worker/protocol.ts';
import { toStdout } from './output.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

/** By what the help calls the value. */
const VALUES: ReadonlyMap<string, readonly string[]> = new Map([
  ['code', CODES.toSorted()],
  ['reason', PARK_REASONS.toSorted()],
  ['format', ['json', 'json-canonical', 'bson', 'cloudevents']],
  ['mode', ['oplog', 'changeStream']],
  ['start', ['latest', 'snapshot', 'earliest']],
  ['position', ['latest', 'earliest']],
]);
const FILES = new Set(['file']);

export function completion(shell: Shell, program: Command, write = toStdout): number {
  const nodes = nodesOf(program);
  switch (shell) {
    case 'bash':
      write(bash(nodes));
      break;
    case 'zsh':
      write(zsh(nodes));
      break;
    case 'fish':
      write(fish(nodes));
      break;
  }
  return 0;
}

/** A command and what may follow it. */
interface Node {
  /** The words that lead to it: '' for the program itself, 'checkpoint show'. */
  readonly path: string;
  readonly commands: readonly Word[];
  /** Of its arguments. */
  readonly values: readonly string[];
  readonly options: readonly Flag[];
}

interface Word {
  readonly name: string;
  readonly about: string;
}

interface Flag {
  /** '-c' and '--config'. */
  readonly names: readonly string[];
  readonly about: string;
  readonly value: Value;
}

type Value =
  { readonly kind: 'none' | 'file' | 'unknown' } | { readonly kind: 'one of'; readonly words: readonly string[] };

function nodesOf(command: Command, path = ''): Node[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command);
  const node: Node = {
    path,
    commands: commands.map((one) => ({ name: one.name(), about: sentence(one.description()) })),
    values: help.visibleArguments(command).flatMap((argument) => valuesOf(argument, argument.name()) ?? []),
    options: help.visibleOptions(command).map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      about: sentence(option.description),
      value: valueOf(option),
    })),
  };
  const below = commands.flatMap((one) => nodesOf(one, path === '' ? one.name() : `${path} ${one.name()}`));
  return [node, ...below];
}

function valueOf(option: Option): Value {
  const placeholder = /[<[](?<name>[^>\].]+)/.exec(option.flags)?.groups?.['name'];
  if (placeholder === undefined) return { kind: 'none' };
  if (FILES.has(placeholder)) return { kind: 'file' };
  const words = valuesOf(option, placeholder);
  return words === undefined ? { kind: 'unknown' } : { kind: 'one of', words };
}

function valuesOf({ argChoices }: Argument | Option, placeholder: string): readonly string[] | undefined {
  return argChoices ?? VALUES.get(placeholder);
}

/** The first one, as there is one line for it. */
function sentence(about: string): string {
  return /^.*?(?=[.;:](?:\s|$)|$)/.exec(about)?.[0] ?? about;
}

/** In single quotes, as all three shells read them alike as long as no quote is in them. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", '’')}'`;
}

/** 'checkpoint show --config', as the shells' functions put path and word together. */
function follow({ path }: Node, word: string): string {
  return path === '' ? word : `${path} ${word}`;
}

function paths(nodes: readonly Node[]): string[] {
  return nodes.map(({ path }) => path).filter((path) => path !== '');
}

function withValue(nodes: readonly Node[], kind: Value['kind']): string[] {
  return nodes.flatMap((node) =>
    node.options
      .filter(({ value }) => value.kind === kind)
      .flatMap(({ names }) => names.map((name) => follow(node, name))),
  );
}

/** The arms of a `case` over quoted patterns; bash and zsh have it in common. */
function arm(patterns: readonly string[], body: string): string {
  return patterns.length === 0 ? '' : `    ${patterns.map(quoted).join(' | ')}) ${body} ;;\n`;
}

function oneOfArms(nodes: readonly Node[], body: (words: readonly string[]) => string): string {
  return nodes
    .flatMap((node) =>
      node.options.map(({ names, value }) =>
        value.kind === 'one of'
          ? arm(
              names.map((name) => follow(node, name)),
              body(value.words),
            )
          : '',
      ),
    )
    .join('');
}

function bash(nodes: readonly Node[]): string {
  const reply = (words: readonly string[]): string => `COMPREPLY=($(compgen -W ${quoted(words.join(' '))} -- "$word"))`;
  const words = nodes.map((node) => {
    const flags = node.options.flatMap(({ names }) => names);
    const others = [...node.commands.map(({ name }) => name), ...node.values];
    return arm([node.path], `flags=${quoted(flags.join(' '))} others=${quoted(others.join(' '))}`);
  });
  // Bash 3.2, which macOS has, knows no mapfile and no compopt.
  return `# Completion of tailrace for bash: source <(tailrace completion bash)
_tailrace() {
  local word="\${COMP_WORDS[COMP_CWORD]}" at='' last='' flags='' others='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    last="\${at:+$at }\${COMP_WORDS[i]}"
    case "$last" in
${arm(paths(nodes), 'at="$last"').replace(/^ {2}/gm, '    ')}    esac
  done
  case "\${at:+$at }\${COMP_WORDS[COMP_CWORD - 1]}" in
${arm(withValue(nodes, 'file'), `local IFS=$'\\n'; type compopt >/dev/null 2>&1 && compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")); return`)}${oneOfArms(nodes, (list) => `${reply(list)}; return`)}${arm(withValue(nodes, 'unknown'), 'return')}  esac
  case "$at" in
${words.join('')}  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$others" -- "$word")) ;;
  esac
}
complete -F _tailrace tailrace
`;
}

function zsh(nodes: readonly Node[]): string {
  // Up to the first colon is the word, the rest what is said of it.
  const described = (name: string, about: string): string => quoted(`${name.replaceAll(':', String.raw`\:`)}:${about}`);
  const words = nodes.map((node) => {
    const flags = node.options.flatMap(({ names, about }) => names.map((name) => described(name, about)));
    const others = [
      ...node.commands.map(({ name, about }) => described(name, about)),
      ...node.values.map((value) => quoted(value)),
    ];
    return arm([node.path], `flags=(${flags.join(' ')}) others=(${others.join(' ')})`);
  });
  return `#compdef tailrace
# Completion of tailrace for zsh: source <(tailrace completion zsh), or as the file _tailrace in a folder of $fpath
_tailrace() {
  local at='' last='' i
  local -a flags others
  for ((i = 2; i < CURRENT; i++)); do
    last="\${at:+$at }\${words[i]}"
    case "$last" in
${arm(paths(nodes), 'at="$last"').replace(/^ {2}/gm, '    ')}    esac
  done
  case "\${at:+$at }\${words[CURRENT - 1]}" in
${arm(withValue(nodes, 'file'), '_files; return')}${oneOfArms(nodes, (list) => `compadd -- ${list.map(quoted).join(' ')}; return`)}${arm(withValue(nodes, 'unknown'), 'return')}  esac
  case "$at" in
${words.join('')}  esac
  case "\${words[CURRENT]}" in
    -*) _describe -o option flags ;;
    *) _describe command others ;;
  esac
}
if [[ "\${funcstack[1]}" = _tailrace ]]; then _tailrace "$@"; else compdef _tailrace tailrace; fi
`;
}

function fish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap((node) => {
    const here = `complete -c tailrace -n ${quoted(`__tailrace_at "${node.path}"`)}`;
    return [
      ...node.commands.map(({ name, about }) => `${here} -a ${quoted(name)} -d ${quoted(about)}`),
      ...(node.values.length > 0 ? [`${here} -a ${quoted(node.values.join(' '))}`] : []),
      ...node.options.map(({ names, about, value }) => {
        const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
        return [here, ...flags, fishValue(value), '-d', quoted(about)].filter((part) => part !== '').join(' ');
      }),
    ];
  });
  return `# Completion of tailrace for fish: tailrace completion fish | source
function __tailrace_at
    set -l at
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if contains -- (string join ' ' -- $at $word) ${paths(nodes).map(quoted).join(' ')}
            set at $at $word
        end
    end
    test "$at" = "$argv[1]"
end
complete -c tailrace -f
${lines.join('\n')}
`;
}

function fishValue(value: Value): string {
  switch (value.kind) {
    case 'none':
      return '';
    case 'file':
      return '-r -F';
    case 'unknown':
      return '-x';
    case 'one of':
      return `-x -a ${quoted(value.words.join(' '))}`;
  }
}
