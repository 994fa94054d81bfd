/**
 * Where RabbitMQ comes from: RABBITMQ_SERVER_BINARY, the folder its packages use, PATH, or – as root on Debian or Ubuntu –
 * the distribution's package. What is returned are the plain scripts, never Debian's wrapper, which would become the user
 * `rabbitmq` and could not write to our folders.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { aptInstall, canAptInstall } from './apt.ts';
import { isExecutable, onPath } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

export interface RabbitScripts {
  readonly server: string;
  readonly ctl: string;
  /** Erlang's port mapper. */
  readonly epmd: string;
}

const PACKAGED = '/usr/lib/rabbitmq/bin';
const INSTALL =
  'RabbitMQ is not installed: install rabbitmq-server (`apt-get install rabbitmq-server`, `brew install rabbitmq`), ' +
  'or name its start script in RABBITMQ_SERVER_BINARY, or a running broker in AMQP_URI';

export async function rabbitScripts(progress: Progress = () => {}): Promise<RabbitScripts> {
  const named = process.env['RABBITMQ_SERVER_BINARY'];
  if (named !== undefined && named !== '') {
    const scripts = (await isExecutable(named)) ? await scriptsIn(dirname(realpathSync(named))) : undefined;
    if (scripts !== undefined) return scripts;
    throw new ServersUnavailable(`RABBITMQ_SERVER_BINARY is ${named}, where no rabbitmq-server and rabbitmqctl are`);
  }
  const found = await installed();
  if (found !== undefined) return found;
  if (!(await canAptInstall())) throw new ServersUnavailable(INSTALL);
  progress('installing rabbitmq-server with apt-get (a minute or so, once)');
  try {
    await aptInstall('rabbitmq-server');
  } catch (error) {
    throw new ServersUnavailable(`${INSTALL} (apt-get could not install it)`, { cause: error });
  }
  const now = await installed();
  if (now === undefined) throw new ServersUnavailable(INSTALL);
  return now;
}

async function installed(): Promise<RabbitScripts | undefined> {
  const packaged = await scriptsIn(PACKAGED);
  if (packaged !== undefined) return packaged;
  const path = await onPath('rabbitmq-server');
  return path === undefined ? undefined : scriptsIn(dirname(realpathSync(path)));
}

async function scriptsIn(folder: string): Promise<RabbitScripts | undefined> {
  const scripts = { server: join(folder, 'rabbitmq-server'), ctl: join(folder, 'rabbitmqctl'), epmd: 'epmd' };
  const plain = (await isExecutable(scripts.server)) && (await isExecutable(scripts.ctl));
  return plain && basename(realpathSync(scripts.server)) === 'rabbitmq-server' ? scripts : undefined;
}
