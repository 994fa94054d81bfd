/**
 * What a scenario of the suite is: words for `--help`, options of its own, and a function that prints its tables and returns
 * the same for machines. The options are declared as data, so that the function receives typed values and `run.ts` needs to know none of them.
 */
import { parseArgs } from 'node:util';

/** The command line is wrong: its words are for whoever typed it, without a stack. */
export class OptionFault extends Error {
  override readonly name = 'OptionFault';
}

export type Option =
  | { readonly type: 'number'; readonly words: string; readonly default: number }
  /** Separated by commas; none where the option is not given. */
  | { readonly type: 'names'; readonly words: string }
  | { readonly type: 'text'; readonly words: string }
  | { readonly type: 'flag'; readonly words: string };

type ValueOf<O extends Option> = O extends { type: 'number' }
  ? number
  : O extends { type: 'names' }
    ? readonly string[]
    : O extends { type: 'flag' }
      ? boolean
      : string | undefined;

export type Options = Readonly<Record<string, Option>>;
export type Values<O extends Options> = { readonly [Name in keyof O]: ValueOf<O[Name]> };

/** Every result is one object that JSON can hold; `run.ts` adds the scenario's name, its options and when it ran. */
export type Result = object;

export interface Scenario {
  readonly words: string;
  /** How long it takes with its defaults, for `--help`. */
  readonly minutes: number;
  readonly options: Options;
  /** Takes what stands behind the scenario's name on the command line; a fault there throws an `OptionFault`. */
  readonly run: (args: readonly string[]) => Promise<{ readonly options: object; readonly result: Result }>;
}

interface Declared<O extends Options> {
  readonly words: string;
  readonly minutes: number;
  readonly options: O;
  readonly run: (options: Values<O>) => Promise<Result>;
}

export function scenario<const O extends Options>({ words, minutes, options, run }: Declared<O>): Scenario {
  return {
    words,
    minutes,
    options,
    run: async (args) => {
      const values = parse(options, args);
      return { options: values, result: await run(values) };
    },
  };
}

function parse<O extends Options>(options: O, args: readonly string[]): Values<O> {
  const values = given(options, args);
  const entries = Object.entries(options).map(([name, option]) => [name, valueOf(name, option, values[name])]);
  return Object.fromEntries(entries) as Values<O>;
}

function given(options: Options, args: readonly string[]): Readonly<Record<string, unknown>> {
  const known = Object.entries(options).map(
    ([name, { type }]) => [name, { type: type === 'flag' ? 'boolean' : 'string' }] as const,
  );
  try {
    return parseArgs({ args: [...args], options: Object.fromEntries(known) }).values;
  } catch (error) {
    throw new OptionFault(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function valueOf(name: string, option: Option, value: unknown): unknown {
  switch (option.type) {
    case 'flag':
      return value === true;
    case 'text':
      return value;
    case 'names':
      return typeof value === 'string' ? value.split(',').filter((one) => one !== '') : [];
    case 'number': {
      const number = value === undefined ? option.default : Number(value);
      if (!Number.isFinite(number) || number < 0)
        throw new OptionFault(`--${name} takes a number, not '${String(value)}'`);
      return number;
    }
  }
}

/** For `--help`: a line an option. */
export function wordsOfOptions(options: Options): string[] {
  return Object.entries(options).map(([name, option]) => {
    const value = { number: 'N', names: 'NAME,NAME', text: 'VALUE', flag: '' }[option.type];
    const initial = option.type === 'number' ? ` (${option.default})` : '';
    return `  ${`--${name} ${value}`.padEnd(24)} ${option.words}${initial}`;
  });
}
