/** The sink's half of `tailrace check`: can we log in, and is what subscriptions publish to there, or will it be declared. */
import { randomUUID } from 'node:crypto';
import type { Channel, ChannelModel } from 'amqplib';
import type { Config, SinkConfig } from '../config/config.ts';
import { redact, withoutSecrets } from '../config/redact.ts';
import { connectFault, connectTo } from '../sinks/connect.ts';
import { amqpCode, topologyOf } from '../sinks/topology.ts';
import { CHECK_TIMEOUT_MS } from './findings.ts';
import type { Findings } from './findings.ts';

const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const RESOURCE_LOCKED = 405;
const PRECONDITION_FAILED = 406;
const NAMES_SHOWN = 5;

type Presence = 'there' | 'missing' | 'forbidden' | 'different';

export async function checkSink(sink: SinkConfig, config: Config, findings: Findings): Promise<void> {
  findings.title(`sink ${sink.name}: ${redact(sink.uri)}`);
  let connection: ChannelModel | undefined;
  try {
    connection = await connectTo(sink, { connectionName: 'tailrace check', timeoutMs: CHECK_TIMEOUT_MS });
    // Without a listener, a connection that breaks now would end the process.
    connection.on('error', () => {});
    const { product, version } = connection.connection.serverProperties;
    findings.ok(`connected to ${product} ${version}`);
    await withDeadline(checkDestinations(connection, sink, config, findings));
  } catch (error) {
    findings.fault(connectFault(error, sink)?.message ?? sayWhy(error, sink.uri));
  } finally {
    await connection?.close().catch(() => {});
  }
}

async function checkDestinations(
  connection: ChannelModel,
  sink: SinkConfig,
  config: Config,
  findings: Findings,
): Promise<void> {
  for (const subscription of config.subscriptions) {
    if (!('sink' in subscription.to) || subscription.to.sink !== sink.name) continue;
    const { exchange, queues, dynamic } = topologyOf(subscription, config.pipeline.partitions);
    const what = `subscription ${subscription.name}`;
    if (exchange !== undefined) {
      const presence = await presenceOf(connection, sink, {
        look: (channel) => channel.checkExchange(exchange),
        declare: (channel) => channel.assertExchange(exchange, 'topic', { durable: true }),
        refused: (channel) =>
          channel.assertExchange(exchange, 'topic', { arguments: { 'alternate-exchange': REFUSED } }),
      });
      tell(presence, `${what}: exchange ${exchange}`, sink, findings);
      if (queues.length === 0 && presence === 'missing' && sink.declare) {
        const fate = subscription.onUnroutable === 'park' ? 'messages are parked' : 'the first message is held';
        findings.warning(
          `${what}: exchange ${exchange}: nobody will have bound a queue to it then, and ${fate}: name one in \`to.queues\`, or bind one of yours`,
        );
      } else if (queues.length === 0) {
        findings.info(`${what}: exchange ${exchange}: whether a queue is bound to it cannot be seen over AMQP`);
      }
    }
    const unbindable: string[] = [];
    const names: Record<Presence, string[]> = { there: [], missing: [], forbidden: [], different: [] };
    for (const { name, arguments: args, bind } of queues) {
      const presence = await presenceOf(connection, sink, {
        look: (channel) => channel.checkQueue(name),
        declare: (channel) => channel.assertQueue(name, { durable: true, arguments: { ...args } }),
        refused: (channel) => channel.assertQueue(name, { arguments: { 'x-dead-letter-exchange': REFUSED } }),
      });
      names[presence].push(name);
      if (!sink.declare || exchange === undefined || bind === undefined) continue;
      // A binding that nobody has is taken away: that needs the rights of binding, and changes nothing.
      const answer = await look(connection, (channel) => channel.unbindQueue(name, exchange, randomUUID()));
      if (answer === 'forbidden') unbindable.push(name);
    }
    if (unbindable.length > 0) {
      findings.fault(
        `${what}: the user may not bind queue ${some(unbindable)}: grant it \`write\` on them, and \`read\` on ${exchange}`,
      );
    }
    for (const presence of ['there', 'missing', 'forbidden', 'different'] as const) {
      const found = names[presence];
      if (found.length > 0) tell(presence, `${what}: queue ${some(found)}`, sink, findings);
    }
    if (dynamic !== undefined) findings.info(`${what}: the queue's name depends on the event, so it is not looked for`);
  }
}

/** RabbitMQ closes the channel of a question whose answer is no: so each has its own. */
async function look(connection: ChannelModel, ask: (channel: Channel) => Promise<unknown>): Promise<Presence> {
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  try {
    await ask(channel);
    await channel.close();
    return 'there';
  } catch (error) {
    const code = amqpCode(error);
    if (code === NOT_FOUND) return 'missing';
    if (code === PRECONDITION_FAILED) return 'different';
    if (code === ACCESS_REFUSED || code === RESOURCE_LOCKED) return 'forbidden';
    throw error;
  }
}

interface Asked {
  readonly look: (channel: Channel) => Promise<unknown>;
  readonly declare: (channel: Channel) => Promise<unknown>;
  /** What cannot be declared. */
  readonly refused: (channel: Channel) => Promise<unknown>;
}

/** No name of an exchange: RabbitMQ refuses it, but looks at the rights before. */
const REFUSED = 0;

/** Creates nothing. What is not there and may not be declared is forbidden. */
async function presenceOf(connection: ChannelModel, sink: SinkConfig, asked: Asked): Promise<Presence> {
  const presence = await look(connection, async (channel) => {
    await asked.look(channel);
    // It is there: this asks whether it is what the configuration says.
    if (sink.declare) await asked.declare(channel);
  });
  if (presence !== 'missing' || !sink.declare) return presence;
  return (await look(connection, asked.refused)) === 'forbidden' ? 'forbidden' : 'missing';
}

function tell(presence: Presence, what: string, sink: SinkConfig, findings: Findings): void {
  if (presence === 'there') findings.ok(`${what}: there`);
  else if (presence === 'different') {
    findings.fault(
      `${what}: there, but with another type or other arguments than configured: \`run\` would stop (406)`,
    );
  } else if (presence === 'forbidden')
    findings.fault(
      `${what}: the broker does not let this user ${sink.declare ? 'declare it: grant it `configure` on it' : 'look at it'}`,
    );
  else if (sink.declare) findings.ok(`${what}: not there yet, will be declared`);
  else findings.fault(`${what}: missing, and \`declare: false\` says not to create it`);
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).join(', ');
  return names.length > NAMES_SHOWN ? `${shown} and ${names.length - NAMES_SHOWN} more` : shown;
}

async function withDeadline<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`the broker gave no answer within ${CHECK_TIMEOUT_MS / 1000} s`));
    }, CHECK_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function sayWhy(error: unknown, uri: string): string {
  const said = error instanceof Error ? error.message : String(error);
  // Node tries a name's addresses one after the other, and then says nothing but how often it failed.
  const message = said === '' && error instanceof AggregateError ? error.errors.map(String).join('; ') : said;
  return withoutSecrets(
    amqpCode(error) === ACCESS_REFUSED ? `the broker refuses the login (${message})` : message,
    uri,
  );
}
