/**
 * `tailrace init`: a first `tailrace.yaml`, from flags, from answers at a terminal, or from defaults: MONGODB_URI and AMQP_URI of the
 * environment, where they are set. Then it looks at both ends and says what it saw; whether they are there is no condition, as the file
 * may be for another machine.
 * Invariants: a file that is there stays as it is without `--force`; a password is never written to it.
 */
import { access, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parse } from 'yaml';
import type { Config } from '../config/config.ts';
import { fileErrorCode } from '../config/file-error.ts';
import { readConfig } from '../config/load.ts';
import { redact } from '../config/redact.ts';
import { InterruptedError, UserError } from '../errors.ts';
import { starterFile } from '../terminal/starter-file.ts';
import type { StarterAnswers } from '../terminal/starter-file.ts';
import { ask, canAsk, ownTerminal } from './ask.ts';
import type { Terminal } from './ask.ts';
import { checkSink } from '../check/check-sink.ts';
import { checkSource } from '../check/check-source.ts';
import { Findings } from '../check/findings.ts';
import { asJson, toStdout } from './output.ts';

export interface InitOptions {
  readonly mongodb?: string | undefined;
  readonly amqp?: string | undefined;
  /** Patterns with commas between them. */
  readonly namespaces?: string | undefined;
  readonly queue?: string | undefined;
  readonly exchange?: string | undefined;
  readonly file: string;
  readonly force: boolean;
  /** Do not ask. */
  readonly yes: boolean;
  readonly json: boolean;
  readonly write?: (text: string) => void;
  readonly terminal?: Terminal;
  readonly env?: NodeJS.ProcessEnv;
}

const DEFAULTS = {
  mongodb: 'mongodb://localhost/?replicaSet=rs0',
  amqp: 'amqp://localhost',
  namespaces: '*',
  exchange: 'changes',
} as const;

/** 0 once the file is written. */
export async function init(options: InitOptions): Promise<number> {
  const { file, force, json, write = toStdout, env = process.env } = options;
  if (!force && (await exists(file))) {
    throw new UserError(
      'usage',
      `${resolve(file)} is there already, and stays as it is. Name another with \`--file\`, or say \`--force\` to replace it.`,
    );
  }
  const answers = await answersOf(options);
  const { text, variables } = starterFile(answers);
  const names = [...text.matchAll(/: \$\{(?<name>\w+)\}/g)].map(({ groups }) => groups!['name']!);
  const given = names.filter((name) => variables[name] === undefined && env[name] !== undefined);
  const unset = names.filter((name) => variables[name] === undefined && env[name] === undefined);
  // What is not known now is taken for something that is well formed.
  const unknown = Object.fromEntries(
    unset.map((name) => [name, answers.amqp.includes(`{${name}}`) ? DEFAULTS.amqp : DEFAULTS.mongodb]),
  );
  const config = await readConfig(parse(text) as object, { ...unknown, ...env, ...variables });
  await save(file, text, force);

  const next = file === 'tailrace.yaml' ? '' : ` -c ${file}`;
  if (!json) {
    write(`Wrote ${resolve(file)}.\n`);
    for (const [name, uri] of Object.entries(variables)) {
      write(
        `It reads ${name} from the environment, as there is a secret in ${redact(uri)}: set it before the next step.\n`,
      );
    }
    for (const name of given) write(`It reads ${name} from the environment, as it is set there.\n`);
    for (const name of unset) write(`It reads ${name} from the environment, where it is not set yet.\n`);
  }
  const found = unset.length > 0 ? [] : await lookAt(config);
  if (json) {
    const said = {
      file: resolve(file),
      variables: [...Object.keys(variables), ...given, ...unset],
      found: found.flatMap(({ all }) => all),
      next: `tailrace check${next}`,
    };
    write(asJson(said));
    return 0;
  }
  for (const { text: said } of found) write(said);
  write(`Next: \`tailrace check${next}\`, then \`tailrace run${next}\`.\n`);
  return 0;
}

async function answersOf(options: InitOptions): Promise<StarterAnswers> {
  const { yes, terminal = ownTerminal(), env = process.env } = options;
  const uriOf = (variable: string, otherwise: string): string =>
    (env[variable] ?? '') === '' ? otherwise : `\${${variable}}`;
  const answer = async (question: string, given: string | undefined, otherwise: string): Promise<string> => {
    if (given !== undefined) return given;
    if (yes || !canAsk(terminal)) return otherwise;
    const said = await ask(`${question} [${otherwise}] `, terminal);
    if (said === undefined) {
      terminal.output.write('\nNothing was written.\n');
      throw new InterruptedError();
    }
    return said === '' ? otherwise : said;
  };
  const mongodb = await answer('MongoDB replica set', options.mongodb, uriOf('MONGODB_URI', DEFAULTS.mongodb));
  const amqp = await answer('RabbitMQ', options.amqp, uriOf('AMQP_URI', DEFAULTS.amqp));
  const namespaces = await answer('Namespaces, such as shop.*,!shop.tmp_*', options.namespaces, DEFAULTS.namespaces);
  const to =
    options.queue === undefined
      ? { exchange: await answer('Exchange, with a queue of its name', options.exchange, DEFAULTS.exchange) }
      : { queue: options.queue };
  const patterns = namespaces.split(',').map((one) => one.trim());
  return { mongodb, amqp, namespaces: patterns, to };
}

/** Both at once: one that is away is waited for, for seconds. */
async function lookAt(config: Config): Promise<(Pick<Findings, 'all'> & { readonly text: string })[]> {
  const look = async (check: (findings: Findings) => Promise<void>) => {
    let text = '';
    const findings = new Findings((line) => (text += line));
    await check(findings);
    return { all: findings.all, text };
  };
  return Promise.all([
    ...config.sources.map((source) => look((findings) => checkSource(source, { config, stored: new Map() }, findings))),
    ...config.sinks.map((sink) => look((findings) => checkSink(sink, config, findings))),
  ]);
}

async function save(file: string, text: string, force: boolean): Promise<void> {
  try {
    await writeFile(file, text, { flag: force ? 'w' : 'wx' });
  } catch (cause) {
    throw new UserError(
      'usage',
      `${resolve(file)} cannot be written (${fileErrorCode(cause)}). Name another with \`--file\`.`,
      { cause },
    );
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
