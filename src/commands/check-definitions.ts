/**
 * Whose sources, sinks and subscriptions `run` would take: the file's, or, where they are managed online, those that are stored. All else of
 * a check is held against these.
 */
import type { DefinitionVersion } from '../checkpoint/definitions.ts';
import type { Config, Start } from '../config/config.ts';
import { ConfigError, formatFault } from '../config/faults.ts';
import type { Environment, Loaded } from '../config/load.ts';
import { UserError } from '../errors.ts';
import { standing, textOf } from '../library/management.ts';
import type { Findings } from '../check/findings.ts';
import { latestVersion } from './managed-config.ts';

export interface Taken {
  /** Without any source, sink or subscription where those that are stored have faults: `run` would not come to them. */
  readonly config: Config;
  /** By subscription: where it begins, unless it has a checkpoint. */
  readonly starts: ReadonlyMap<string, Start>;
}

/** After the data folder, which says why it cannot be read. */
export async function checkDefinitions(loaded: Loaded, env: Environment, findings: Findings): Promise<Taken> {
  const { config } = loaded;
  const ofFile = { config, starts: new Map() };
  if (config.management === 'file') return ofFile;
  let latest: DefinitionVersion | undefined;
  try {
    latest = await latestVersion(config);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    findings.title('sources, sinks and subscriptions, managed online');
    findings.info("they cannot be read, see above: the file's are looked at instead");
    return ofFile;
  }
  if (latest === undefined) {
    findings.title('sources, sinks and subscriptions, managed online');
    findings.ok("none are stored yet: the first start takes the file's");
    return ofFile;
  }
  const { number, at, by } = latest;
  findings.title(`sources, sinks and subscriptions, managed online: version ${number}`);
  findings.info(`\`run\` takes what is stored, of ${new Date(at).toISOString()} by ${by}, and so does this check`);
  try {
    const { differing, ...taken } = await standing(latest, { loaded, env });
    findings.ok('they have no faults');
    if (differing.length > 0) {
      findings.warning(
        `the file has others, which are not looked at (${differing.map(textOf).join(', ')}): \`tailrace plan\` shows them, \`tailrace apply\` takes them`,
      );
    }
    return taken;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    // Lines and columns are of no text that anybody wrote.
    const faults =
      error instanceof ConfigError
        ? error.faults.map((one) => formatFault({ ...one, at: undefined }))
        : [error.message];
    for (const fault of faults) findings.fault(fault);
    findings.info(
      "so the servers are not looked at: `run` would not come to them. `tailrace apply` puts the file's in their place",
    );
    return { config: { ...config, sources: [], sinks: [], subscriptions: [] }, starts: new Map() };
  }
}
