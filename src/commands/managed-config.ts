/** What an engine on a data folder runs with: what its file says, or, where that is managed online, what was made of it since. */
import { CHECKPOINTS, DEFINITIONS, environmentExists, openDatabaseIfThere } from '../checkpoint/data-folder.ts';
import { readVersions } from '../checkpoint/definitions.ts';
import { probeStores } from '../checkpoint/probe.ts';
import { reading } from '../checkpoint/read-only.ts';
import { loadFile } from '../config/load.ts';
import { standing } from '../library/management.ts';
import type { DefinitionVersion } from '../checkpoint/definitions.ts';
import type { Config } from '../config/config.ts';
import type { Environment } from '../config/load.ts';

/** Throws `UserError`. */
export async function managedConfig(path: string, env: Environment = process.env): Promise<Config> {
  const loaded = await loadFile(path, env);
  const latest = await latestVersion(loaded.config);
  return latest ? (await standing(latest, { loaded, env })).config : loaded.config;
}

/** Also beside a running engine. Undefined where the file holds, or no engine has run yet. Throws `UserError`. */
export async function latestVersion({
  management,
  checkpoint: { path },
}: Pick<Config, 'management' | 'checkpoint'>): Promise<DefinitionVersion | undefined> {
  if (management !== 'online' || !environmentExists(path, CHECKPOINTS)) return undefined;
  await probeStores({ path, mode: 'read' });
  let versions: DefinitionVersion[] = [];
  await reading(path, CHECKPOINTS, (environment) => {
    const database = openDatabaseIfThere(environment, DEFINITIONS);
    if (database !== undefined) versions = readVersions(database);
  });
  return versions.at(-1);
}
