/** Writes configuration files into a folder of its own, and reads them back as the engine would. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';
import { UserError } from '../../src/errors.ts';

export type Env = Readonly<Record<string, string | undefined>>;

export const folder = await mkdtemp(join(tmpdir(), 'tailrace-config-'));
after(() => rm(folder, { recursive: true, force: true }));

let files = 0;

export async function load(yaml: string, env: Env = {}): Promise<Config> {
  const path = join(folder, `${++files}.yaml`);
  await writeFile(path, yaml);
  // What was written is another matter: declared.test.ts.
  const { declared: _, ...config } = await loadConfig(path, env);
  return config;
}

/** The report's lines, without its heading; empty when the file has no faults. */
export async function faultsOf(yaml: string, env: Env = {}): Promise<string[]> {
  try {
    await load(yaml, env);
    return [];
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'config-invalid') throw error;
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
}

/** A file with one source, one sink and the given subscriptions (each a YAML flow mapping). */
export function file(subscriptions: readonly string[], rest = ''): string {
  return [
    'sources: { shop: { uri: "mongodb://h/?replicaSet=rs" } }',
    'sinks: { rabbit: { uri: "amqp://h" } }',
    'subscriptions:',
    ...subscriptions.map((subscription) => `  - ${subscription}`),
    rest,
  ].join('\n');
}
