/** What an engine on a data folder runs with: what its file says, or, where that is managed online, what was made of it since. */
import { CHECKPOINTS, DEFINITIONS, environmentExists, openDatabaseIfThere } from '../checkpoint/data-folder.ts';
import { readVersions } from '../checkpoint/definitions.ts';
import { probeStores } from '../checkpoint/probe.ts';
import { reading } from '../checkpoint/read-only.ts';
import { loadFile, withDefinitions } from '../config/load.ts';
import type { DefinitionVersion } from '../checkpoint/definitions.ts';
import type { Config } from '../config/config.ts';
import type { Environment, Loaded } from '../config/load.ts';

/** Throws `UserError`. */
export async function managedConfig(path: string, env: Environment = process.env): Promise<Config> {
  const loaded = await loadFile(path, env);
  const latest = await latestVersion(loaded);
  return latest ? await withDefinitions(loaded, latest.definitions, env) : loaded.config;
}

/** Undefined where the file holds, or no engine has run yet. */
async function latestVersion({ config }: Loaded): Promise<DefinitionVersion | undefined> {
  const { path } = config.checkpoint;
  if (config.management !== 'online' || !environmentExists(path, CHECKPOINTS)) return undefined;
  await probeStores({ path, mode: 'read' });
  let versions: DefinitionVersion[] = [];
  await reading(path, CHECKPOINTS, (environment) => {
    const database = openDatabaseIfThere(environment, DEFINITIONS);
    if (database !== undefined) versions = readVersions(database);
  });
  return versions.at(-1);
}
