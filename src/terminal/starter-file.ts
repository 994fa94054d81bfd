/** What `tailrace init` writes: a short `tailrace.yaml` with what there is to know on the first day. Pure. */
import { parseDocument } from 'yaml';
import { secretsIn } from '../config/redact.ts';

export interface StarterAnswers {
  /** Both as in the file; or `${NAME}`. */
  readonly mongodb: string;
  readonly amqp: string;
  readonly namespaces: readonly string[];
  readonly to: { readonly exchange: string } | { readonly queue: string };
}

export interface StarterFile {
  readonly text: string;
  /** What it reads from the environment, with what was given for it. */
  readonly variables: Readonly<Record<string, string>>;
  readonly source: string;
}

/** As in a configuration. */
const NAME = /^[A-Za-z0-9_-]+$/;

export function starterFile({ mongodb, amqp, namespaces, to }: StarterAnswers): StarterFile {
  const variables: Record<string, string> = {};
  const uri = (given: string, variable: string): string => {
    if (given.includes('${') || secretsIn(given).length === 0) return scalar(given);
    variables[variable] = given;
    return `\${${variable}}`;
  };
  const source = sourceName(namespaces);
  const text = `# What Tailrace reads and where it goes. \`tailrace check\` says whether all of it is there, \`tailrace run\` starts.
# \${NAME} is read from the environment, \${file:PATH} from a file. Every setting: the README, "Configuration".

sources:
  ${scalar(source)}: # part of every event's \`_id\`: keep it
    uri: ${uri(mongodb, 'MONGODB_URI')} # a replica set; one member is enough
    # Where the very first start begins: latest, earliest, a date, or seconds:increment. Later ones go on where they were.
    start: latest

sinks:
  rabbit:
    uri: ${uri(amqp, 'AMQP_URI')}

subscriptions:
  - name: ${scalar(subscriptionName(to))} # its checkpoint goes by it: keep it, too
    # "db.coll", * for any characters; "!shop.tmp_*" leaves out.
    namespaces: [${namespaces.map(quoted).join(', ')}]
    to:
${'exchange' in to ? toExchange(to.exchange) : toQueue(to.queue)}
    # Many events in a message, as JSON lines, are several times faster:
    # batch: { maxEvents: 200 }

checkpoint:
  path: ./tailrace-data # where reading goes on after a stop; beside this file

http:
  listen: 127.0.0.1:9464 # metrics, health and the API; \`tailrace top\` and \`ctl\` ask there
`;
  return { text, variables, source };
}

function toExchange(exchange: string): string {
  return `      exchange: ${scalar(exchange)} # a topic exchange; the routing key is db.coll.operation
      queues: # declared and bound, so that every message has somewhere to go
        - { name: ${quoted(exchange)}, type: quorum, bind: '#' }`;
}

function toQueue(queue: string): string {
  return `      queue: ${scalar(queue)}
      queueType: quorum # or classic, or stream`;
}

/** The database, where there is one. */
function sourceName(namespaces: readonly string[]): string {
  const first = namespaces.find((one) => !one.startsWith('!'))?.split('.', 1)[0] ?? '';
  return NAME.test(first) ? first : 'main';
}

function subscriptionName(to: StarterAnswers['to']): string {
  const name = 'exchange' in to ? to.exchange : to.queue;
  return NAME.test(name) ? name : 'changes';
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** As it is where YAML takes it for text. */
function scalar(text: string): string {
  return /^[A-Za-z$]/.test(text) && parseDocument(text).toJS() === text ? text : quoted(text);
}
