/** RabbitMQ of other versions than the one at hand, as Debian builds them, for the benches that compare versions. */
import { join } from 'node:path';
import { debianRoot } from './debian-root.ts';
import type { RabbitScripts } from './rabbit-binary.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

/** By version, the suite of Debian that has it. */
const SUITES: ReadonlyMap<string, string> = new Map([['4.0', 'trixie']]);

const NEWER_RABBITS = [...SUITES.keys()];

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function newerRabbit(version: string, progress: Progress = () => {}): Promise<RabbitScripts> {
  try {
    const suite = SUITES.get(version);
    if (suite === undefined) throw new Error(`only ${NEWER_RABBITS.join(', ')} are known`);
    const inside = '/usr/lib/rabbitmq/bin';
    const programs = {
      'rabbitmq-server': `${inside}/rabbitmq-server`,
      rabbitmqctl: `${inside}/rabbitmqctl`,
      epmd: '/usr/bin/epmd',
    };
    const scripts = await debianRoot({ suite, packages: ['rabbitmq-server'], programs }, progress);
    const at = (name: keyof typeof programs): string => join(scripts, name);
    return { server: at('rabbitmq-server'), ctl: at('rabbitmqctl'), epmd: at('epmd') };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServersUnavailable(`RabbitMQ ${version} cannot be had: ${reason}`, { cause: error });
  }
}
