#!/usr/bin/env node
/**
 * The command line: what can be said, and which exit code it ends with. What a command does is in `commands/`, loaded only
 * when it is asked for. Exit codes: 0 fine; 1 failed while running; 2 bad usage or configuration; 3 position lost; 130
 * stopped by a second signal, or by Ctrl-C instead of an answer.
 */
import { inspect } from 'node:util';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { Code } from './codes.ts';
import { withoutKnownSecrets } from './config/known-secrets.ts';
import { EngineAnswerError, InterruptedError, PositionLostError, UserError } from './errors.ts';
import type { FilterFlags } from './checkpoint/parked-filter.ts';
import type { Shell } from './commands/completion.ts';
import { VERSION } from './version.ts';

const EXIT = { fine: 0, failed: 1, usage: 2, positionLost: 3, interrupted: 130 } as const;

/** For connections that are still being closed when all is done. */
const LINGER_MS = 500;

/** Before the command line is understood: it may be what is wrong. */
const WANTS_JSON = process.argv.includes('--json');

const EXIT_CODES = `
Exit codes:
  0    fine
  1    failed while running
  2    bad usage or configuration
  3    a position has left the oplog
  130  stopped at once by a second signal, or by Ctrl-C at a question`;

interface Outcome {
  exitCode: number;
}

function commandLine(outcome: Outcome): Command {
  const program = new Command('tailrace')
    .description("Reads a MongoDB replica set's oplog and delivers every change to RabbitMQ: in order, at least once.")
    .version(VERSION, '-V, --version')
    .addHelpText('after', EXIT_CODES)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(withoutKnownSecrets(text.replace(/^error: /, 'tailrace: '))),
      // What is wrong with the command line is then an object on standard output.
      ...(WANTS_JSON && { writeErr: () => undefined }),
    });

  withConfig(program.command('run'))
    .description('Run until SIGTERM or SIGINT: then stop reading, wait for confirms, write the checkpoint, exit 0.')
    .option('--repartition', 'accept other partitions than the checkpoint has, although queues are named after them')
    .option('--fail-fast', 'exit with 3 as soon as one source has lost its position')
    .option('--no-live', 'at a terminal: only the log, without the lines below it that show how it is going')
    .option('--json', 'the log as JSON lines at a terminal too')
    .action(async (options: { config: string; repartition?: true; failFast?: true; live: boolean; json?: true }) => {
      const { run } = await import('./commands/run.ts');
      const { config, repartition = false, failFast = false, json = false } = options;
      // Lines that programs read have none below them that are for people.
      const live = options.live && !json;
      outcome.exitCode = await run({ config, repartition, failFast, live, json, exitCodeOf: endOf });
    });

  withJson(program.command('init'))
    .description('Write a first tailrace.yaml: from these flags, from answers at a terminal, or from defaults.')
    .option('--mongodb <uri>', 'the replica set to read; a password goes to the environment, not into the file')
    .option('--amqp <uri>', 'the RabbitMQ to deliver to; likewise')
    .option('--namespaces <patterns>', 'with commas between them, such as "shop.*,!shop.tmp_*"')
    .option('--exchange <name>', 'publish to this exchange, with a queue of its name')
    .addOption(new Option('--queue <name>', 'publish to this queue instead').conflicts('exchange'))
    .option('--file <file>', 'what to write', 'tailrace.yaml')
    .option('--force', 'replace the file if it is there', false)
    .option('--yes', 'ask nothing', false)
    .action(async (options: InitFlags) => {
      const { init } = await import('./commands/init.ts');
      outcome.exitCode = await init(options);
    });

  withJson(withConfig(program.command('check')))
    .description(
      'Validate the file, connect to both ends, check rights; show the oplog and what each subscription matches.',
    )
    .action(async (options: { config: string; json: boolean }) => {
      const { check } = await import('./commands/check.ts');
      outcome.exitCode = await check(options);
    });

  withJson(withConfig(program.command('plan')))
    .description('Where sources, sinks and subscriptions are managed online: show what the file would change.')
    .action(async (options: { config: string; json: boolean }) => {
      const { plan } = await import('./commands/plan.ts');
      outcome.exitCode = await plan(options);
    });

  withJson(withConfig(program.command('apply')))
    .description('Make what the file says the newest version: in the running engine, or for its next start.')
    .option('--yes', 'do not ask', false)
    .action(async (options: { config: string; yes: boolean; json: boolean }) => {
      const { apply } = await import('./commands/plan.ts');
      outcome.exitCode = await apply(options);
    });

  program
    .command('tail')
    .description("Print a replica set's changes to standard output; no broker, no file, nothing kept.")
    .argument('<uri>', 'mongodb://… of a replica set')
    .option(
      '--ns <pattern>',
      'namespaces, such as "shop.*" or "!shop.tmp_*"; may be repeated (default: everything)',
      collect,
    )
    .option('--from <start>', 'latest, earliest, an ISO date, or seconds:increment', 'latest')
    .option('--format <format>', 'json, json-canonical, bson or cloudevents', 'json')
    .option('--mode <mode>', 'oplog, or changeStream where the oplog may not be read', 'oplog')
    .option('--watch <what>', 'with --mode changeStream: deployment, a database, or db.coll', 'deployment')
    .action(async (uri: string, options: TailFlags) => {
      const { tail } = await import('./commands/tail.ts');
      const { ns: namespaces = [], ...rest } = options;
      outcome.exitCode = await tail({ uri, namespaces, ...rest });
    });

  const checkpoint = program.command('checkpoint').description('Where reading goes on after a stop.');
  withJson(withConfig(checkpoint.command('show')))
    .description('Show the positions; works beside a running engine.')
    .action(async ({ config, json }: { config: string; json: boolean }) => {
      const { checkpointShow } = await import('./commands/checkpoint-show.ts');
      outcome.exitCode = await checkpointShow({ config, json });
    });

  withJson(withConfig(checkpoint.command('set')))
    .description('Say where a subscription reads on; on a stopped engine.')
    .argument('<subscription>')
    .argument('<position>', 'latest, earliest, an ISO date, or seconds:increment for what came after it')
    .option('--yes', 'do not ask')
    .action(
      async (subscription: string, position: string, options: { config: string; yes?: boolean; json: boolean }) => {
        const { checkpointSet } = await import('./commands/checkpoint-set.ts');
        const { config, json, yes = false } = options;
        outcome.exitCode = await checkpointSet({ config, subscription, position, yes, json });
      },
    );
  withJson(withConfig(checkpoint.command('forget')))
    .description("Let a subscription begin at its source's start; on a stopped engine.")
    .argument('<subscription>')
    .option('--yes', 'do not ask')
    .action(async (subscription: string, options: { config: string; yes?: boolean; json: boolean }) => {
      const { checkpointForget } = await import('./commands/checkpoint-forget.ts');
      const { config, json, yes = false } = options;
      outcome.exitCode = await checkpointForget({ config, subscription, yes, json });
    });
  withJson(withConfig(checkpoint.command('restore')))
    .description('Rebuild a damaged store from its copy; on a stopped engine.')
    .action(async (options: { config: string; json: boolean }) => {
      const { checkpointRestore } = await import('./commands/checkpoint-restore.ts');
      outcome.exitCode = await checkpointRestore(options);
    });

  const parked = program.command('parked').description('Events that were set aside instead of delivered.');
  withJson(withFilter(withConfig(parked.command('list'))))
    .description('List them, and why; works beside a running engine.')
    .action(async (options: ParkedFlags) => {
      const { parkedList } = await import('./commands/parked-list.ts');
      outcome.exitCode = await parkedList(options);
    });
  withJson(withFilter(withConfig(parked.command('replay'))))
    .description("Deliver them after all, by today's configuration; on a stopped engine, or by the running one.")
    .option('--dry-run', 'say what would become of them, and do nothing')
    .action(async ({ dryRun = false, ...options }: ParkedFlags & { dryRun?: boolean }) => {
      const { parkedReplay } = await import('./commands/parked-replay.ts');
      outcome.exitCode = await parkedReplay({ ...options, dryRun });
    });
  withJson(withFilter(withConfig(parked.command('drop'))))
    .description('Give them up for good; on a stopped engine, or by the running one.')
    .option('--dry-run', 'say which, and do nothing')
    .option('--yes', 'do not ask')
    .action(async ({ dryRun = false, yes = false, ...options }: ParkedFlags & { dryRun?: boolean; yes?: boolean }) => {
      const { parkedDrop } = await import('./commands/parked-drop.ts');
      outcome.exitCode = await parkedDrop({ ...options, dryRun, yes });
    });

  withEngine(program.command('top'))
    .description('Watch a running engine: sources, subscriptions, what is held; `q` quits.')
    .option('--once', 'print one picture and end', false)
    .action(async (options: EngineFlags & { once: boolean }) => {
      const { top } = await import('./commands/top.ts');
      outcome.exitCode = await top(options);
    });

  const control = program
    .command('ctl')
    .description('Ask a running engine over its API, at the address that `http.listen` of its configuration says.');
  for (const [name, one] of [
    ['sources', 'one source, as JSON'],
    ['sinks', 'one sink, as JSON'],
    ['subscriptions', 'one subscription with its lanes, as JSON'],
    ['codes', 'one code'],
  ] as const) {
    withEngine(control.command(name))
      .description(`Show its ${name}.`)
      .argument('[name]', one)
      .action(async (asked: string | undefined, options: EngineFlags) => {
        const { ctl } = await import('./commands/ctl.ts');
        outcome.exitCode = await ctl(options, asked === undefined ? name : `${name}/${encodeURIComponent(asked)}`);
      });
  }
  withEngine(control.command('checkpoint'))
    .description('Show where each subscription stands, and the gaps.')
    .action(async (options: EngineFlags) => {
      const { ctl } = await import('./commands/ctl.ts');
      outcome.exitCode = await ctl(options, 'checkpoint');
    });
  withEngine(control.command('parked'))
    .description('Show parked events, a page at a time, or what is in one of them.')
    .argument('[id]', "the list's ID of one, which is shown as JSON")
    .option('--subscription <name>', 'only of this subscription')
    .option('--reason <reason>', 'only for this reason')
    .option('--since <time>', 'only events from then on: an ISO date, or seconds:increment')
    .option('--until <time>', 'only events before then')
    .option('--limit <count>', 'how many a page may hold')
    .option('--after <id>', 'go on behind the page before')
    .action(
      async (id: string | undefined, { config, url, token, json, ...query }: EngineFlags & Record<string, string>) => {
        const { ctl } = await import('./commands/ctl.ts');
        const options = { config, url, token, json };
        outcome.exitCode = await (id === undefined
          ? ctl(options, 'parked', { query })
          : ctl(options, `parked/${encodeURIComponent(id)}`));
      },
    );
  for (const [name, text] of [
    ['pause', 'Deliver nothing more of a subscription until it is resumed, over restarts too; it keeps its position.'],
    ['resume', 'Go on where a subscription was paused.'],
  ] as const) {
    withEngine(control.command(name))
      .description(text)
      .argument('<subscription>', 'its name')
      .action(async (asked: string, options: EngineFlags) => {
        const { ctl } = await import('./commands/ctl.ts');
        outcome.exitCode = await ctl(options, `subscriptions/${encodeURIComponent(asked)}/${name}`, {
          method: 'POST',
        });
      });
  }
  for (const [name, text] of [
    ['get', 'Get any path of the API, as JSON.'],
    ['post', 'Send something new to any path of the API, or have it do what the path says.'],
    ['put', 'Change what is at any path of the API.'],
    ['delete', 'Delete what is at any path of the API.'],
  ] as const) {
    const command = withEngine(control.command(name))
      .description(text)
      .argument('<path>', 'such as subscriptions/orders');
    if (name !== 'get') command.option('--body <file>', 'what to send, JSON or YAML; - for standard input');
    command.action(async (path: string, { body, ...options }: EngineFlags & { body?: string }) => {
      const { ctlAny } = await import('./commands/ctl.ts');
      const method = name.toUpperCase() as Uppercase<typeof name>;
      outcome.exitCode = await ctlAny(options, path, { method, bodyFile: body });
    });
  }

  withEngine(control.command('events'))
    .description('Watch events as they are delivered, some of those that match: a line of JSON each, until Ctrl-C.')
    .option('--subscription <name>', 'only of this subscription; may be repeated', collect)
    .option(
      '--ns <pattern>',
      'only of namespaces like this, such as "shop.*" or "!shop.tmp_*"; may be repeated',
      collect,
    )
    .option('--op <type>', 'only of this operationType; may be repeated', collect)
    .option('--per-second <count>', 'how many are shown')
    .option('--count <events>', 'end after so many', countOf, Infinity)
    .action(async (options: EngineFlags & EventFlags) => {
      const { ctlEvents } = await import('./commands/ctl-events.ts');
      outcome.exitCode = await ctlEvents(options);
    });

  const snapshot = program
    .command('snapshot')
    .description('Have a running engine deliver what is in collections, beside their changes.');
  withEngine(snapshot.command('list'))
    .description('Show the snapshots that go on, and the last few that are over.')
    .action(async (options: EngineFlags) => {
      const { snapshotList } = await import('./commands/snapshot.ts');
      outcome.exitCode = await snapshotList(options);
    });
  withEngine(snapshot.command('add'))
    .description('Deliver what is in the collections of a subscription.')
    .argument('<subscription>', 'its name')
    .option('--ns <pattern>', 'only of namespaces like this; may be repeated', collect)
    .option('--filter <query>', 'only documents that match: Extended JSON, such as \'{"status": "open"}\'')
    .action(async (name: string, { ns, filter, ...options }: EngineFlags & { ns?: string[]; filter?: string }) => {
      const { snapshotAdd } = await import('./commands/snapshot.ts');
      outcome.exitCode = await snapshotAdd(options, name, { ns, filter });
    });
  for (const [name, text] of [
    ['pause', 'Hold a snapshot where it is, over restarts too.'],
    ['resume', 'Go on with a snapshot where it was paused.'],
    ['cancel', 'End a snapshot; what was delivered of it stays delivered.'],
  ] as const) {
    withEngine(snapshot.command(name))
      .description(text)
      .argument('<id>', "the list's ID")
      .action(async (id: string, options: EngineFlags) => {
        const { snapshotChange } = await import('./commands/snapshot.ts');
        outcome.exitCode = await snapshotChange(options, id, name);
      });
  }

  withJson(program.command('explain'))
    .description('What a code in a message or the log means, and what to do.')
    .argument('<code>', 'such as held-unroutable')
    .action(async (code: string, { json }: { json: boolean }) => {
      const { explain } = await import('./commands/explain.ts');
      outcome.exitCode = await explain(code, undefined, json);
    });

  program
    .command('completion')
    .description('Print a script that completes this command line in a shell: source <(tailrace completion bash)')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) => {
      const { completion } = await import('./commands/completion.ts');
      outcome.exitCode = completion(shell, program);
    });

  pointToHelp(program, program.name());
  return program;
}

/** Whoever got a command's arguments wrong wants that command's help. */
function pointToHelp(command: Command, path: string): void {
  command.showHelpAfterError(`\`${path} --help\` shows what there is.`);
  for (const below of command.commands) pointToHelp(below, `${path} ${below.name()}`);
}

interface InitFlags {
  readonly mongodb?: string;
  readonly amqp?: string;
  readonly namespaces?: string;
  readonly queue?: string;
  readonly exchange?: string;
  readonly file: string;
  readonly force: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

interface EngineFlags {
  readonly config?: string;
  readonly url?: string;
  readonly token?: string;
  readonly json: boolean;
}

interface EventFlags {
  readonly subscription?: readonly string[];
  readonly ns?: readonly string[];
  readonly op?: readonly string[];
  readonly perSecond?: string;
  readonly count: number;
}

function countOf(value: string): number {
  if (/^[1-9]\d{0,8}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('Expected a whole number from 1 on.');
}

function withEngine(command: Command): Command {
  return command
    .option(
      '-c, --config <file>',
      "the engine's configuration, which says its address and token; ./tailrace.yaml where it is there and no address is given",
    )
    .addOption(
      new Option('--url <url>', "the engine's address; http://127.0.0.1:9464 where no file says another").env(
        'TAILRACE_URL',
      ),
    )
    .addOption(
      new Option('--token <token>', "`http.token`, instead of the file's; best as TAILRACE_TOKEN").env(
        'TAILRACE_TOKEN',
      ),
    )
    .option('--json', "the API's answer as it is", false);
}

function withConfig(command: Command): Command {
  return command.option('-c, --config <file>', 'the configuration', './tailrace.yaml');
}

function withJson(command: Command): Command {
  return command.option('--json', 'one JSON object on standard output, of an error too', false);
}

function withFilter(command: Command): Command {
  return command
    .option('--subscription <name>', 'only of this subscription')
    .option('--reason <reason>', 'only for this reason')
    .option('--since <time>', 'only events from then on: an ISO date, or seconds:increment')
    .option('--until <time>', 'only events before then')
    .option('--event <id>', 'only this event; may be repeated', collect);
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

async function exitCodeOf(error: unknown): Promise<number> {
  // Commander has written its own message, and counts help that was asked for as an "error" with the code 0.
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.fine;
    if (WANTS_JSON) await writeJsonError('usage', withoutKnownSecrets(error.message.replace(/^error: /, '')));
    return EXIT.usage;
  }
  if (error instanceof InterruptedError) return EXIT.interrupted;
  const message = error instanceof Error ? error.message : String(error);
  const known = error instanceof UserError || error instanceof PositionLostError || error instanceof EngineAnswerError;
  // What nobody foresaw comes with its stack, for the one who has to find it.
  const text = withoutKnownSecrets(known || !(error instanceof Error) ? message : (error.stack ?? message));
  const code = codeOf(error);
  if (WANTS_JSON) await writeJsonError(code, text);
  else process.stderr.write(`tailrace: ${text}\n[code: ${code}; \`tailrace explain ${code}\` says more]\n`);
  return endOf(error);
}

/** What happened, and the next step: what the code's page says is to be done. */
async function writeJsonError(code: string, message: string): Promise<void> {
  const [{ CODES }, { readCode }] = await Promise.all([import('./codes.ts'), import('./code-page.ts')]);
  const known = CODES.find((one) => one === code);
  const next = known === undefined ? undefined : (await readCode(known)).whatToDo;
  const error = { code, message, next, explain: `tailrace explain ${code}` };
  process.stdout.write(`${JSON.stringify({ error }, undefined, 2)}\n`);
}

function codeOf(error: unknown): Code | (string & {}) {
  if (error instanceof UserError || error instanceof EngineAnswerError) return error.code;
  return error instanceof PositionLostError ? `position-${error.reason}` : 'unexpected';
}

function endOf(error: unknown): number {
  if (error instanceof UserError) return EXIT.usage;
  if (error instanceof EngineAnswerError && error.isRefusal) return EXIT.usage;
  if (error instanceof PositionLostError) return EXIT.positionLost;
  return EXIT.failed;
}

// Whoever reads us may stop reading (`| head`): nothing is wrong then.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// Node would print the error with all its properties, and a driver's may hold the URI it was given.
process.on('uncaughtException', (error) => {
  process.stderr.write(`tailrace: ${withoutKnownSecrets(inspect(error))}\n`);
  process.exit(EXIT.failed);
});

const outcome: Outcome = { exitCode: EXIT.fine };
try {
  await commandLine(outcome).parseAsync();
  process.exitCode = outcome.exitCode;
} catch (error) {
  process.exitCode = await exitCodeOf(error);
}
// What nobody waits for any more, as a test of a source that does not answer, must not keep the process; a slow reader of its output may.
setInterval(() => {
  if (process.stdout.writableLength + process.stderr.writableLength === 0) process.exit();
}, LINGER_MS).unref();

interface ParkedFlags extends FilterFlags {
  readonly config: string;
  readonly json: boolean;
}

interface TailFlags {
  readonly ns?: string[];
  readonly from: string;
  readonly format: string;
  readonly mode: string;
  readonly watch: string;
}
