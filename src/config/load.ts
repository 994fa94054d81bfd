/**
 * `tailrace.yaml` → `Config`. A faulty file is reported whole, as one `UserError` whose text has a line for each fault;
 * nothing that came out of `${…}`, and no URI, is ever in it.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { stringify } from 'yaml';
import { UserError } from '../errors.ts';
import { checkTogether } from './checks.ts';
import type { Config } from './config.ts';
import { declaredOf } from './declared.ts';
import { fileOf } from './definitions.ts';
import type { Definitions } from './definitions.ts';
import { readDocument } from './document.ts';
import { fileErrorCode } from './file-error.ts';
import { ConfigFaults } from './faults.ts';
import { keepSecrets } from './known-secrets.ts';
import { expand } from './placeholders.ts';
import { redact } from './redact.ts';
import { Reporter } from './reporter.ts';
import { resolveConfig } from './resolve.ts';
import { isMapping, salvage } from './salvage.ts';
import { fileSchema } from './schema.ts';

export async function loadConfig(path: string, env: Environment): Promise<Config> {
  return (await loadFile(path, env)).config;
}

/** With what is written in it. */
export async function loadFile(path: string, env: Environment): Promise<Loaded> {
  return check({ text: await read(path), name: path, folder: dirname(resolve(path)), places: true }, env);
}

/** What such a file would hold, as an object; paths in it are relative to the working directory. */
export async function readConfig(values: object, env: Environment): Promise<Config> {
  return (await readValues(values, { env })).config;
}

/** `name`: what messages call it. `folder`: what paths are relative to. */
export async function readValues(
  values: object,
  { env, name = 'config', folder = process.cwd() }: { env: Environment; name?: string; folder?: string },
): Promise<Loaded> {
  return check({ text: stringify(values), name, folder, places: false }, env);
}

/** What a file comes to with these in the place of its own. Throws `ConfigError`. */
export async function withDefinitions(
  { written, config: { folder } }: Loaded,
  definitions: Definitions,
  env: Environment,
): Promise<Config> {
  const values = fileOf(written, definitions);
  return (await readValues(values, { env, folder, name: 'what is managed online' })).config;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Loaded {
  readonly config: Config;
  /** As it is written, in its long forms: placeholders are not filled in, and secrets may be in it. */
  readonly written: Readonly<Record<string, unknown>>;
}

interface Written {
  readonly text: string;
  /** In messages. */
  readonly name: string;
  readonly folder: string;
  /** Whether somebody wrote this very text. */
  readonly places: boolean;
}

async function check({ text, name, folder, places }: Written, env: Environment): Promise<Loaded> {
  const faults = new ConfigFaults(name, { places });

  const document = readDocument(text, faults);
  if (document === undefined) throw faults.toError();
  const written = document.values();
  if (!isMapping(written)) {
    const found =
      written === undefined ? 'aliases that contain themselves' : written === null ? 'an empty file' : 'no mapping';
    faults.add({ path: [], at: undefined, found, expected: 'a mapping with sources, sinks and subscriptions' });
    throw faults.toError();
  }

  const long = longForms(written);
  const expanded = await expand(long, { document, folder, env, faults });
  const report = new Reporter(document, expanded, faults);
  const parsed = fileSchema.safeParse(expanded.values);
  if (!parsed.success) report.issues(parsed.error.issues);
  const sound = parsed.success ? parsed.data : salvage(fileSchema, expanded.values);
  if (sound !== undefined) checkTogether(sound, folder, report);
  if (faults.count > 0 || !parsed.success) throw faults.toError();
  const resolved = resolveConfig(parsed.data, folder);
  const names = resolved.subscriptions.map(({ name }) => name);
  const config = { ...resolved, declared: declaredOf(long, names) };
  keepSecrets(config);
  return { config, written: long };
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const code = fileErrorCode(cause);
    // A URI in the wrong place is shown without its password.
    const shown = path.includes('://') ? redact(path) : resolve(path);
    throw new UserError(
      'config-invalid',
      code === 'ENOENT'
        ? `there is no configuration file ${shown}; name one with -c FILE, or write a first one with \`tailrace init\``
        : `the configuration file ${shown} cannot be read (${code}); name another with -c FILE`,
      { cause },
    );
  }
}

/** `to: stdout` and `http: off` stand for mappings. */
function longForms(written: Record<string, unknown>): Record<string, unknown> {
  const { http, subscriptions } = written;
  return {
    ...written,
    ...(http === 'off' || http === false ? { http: { listen: 'off' } } : {}),
    ...(Array.isArray(subscriptions)
      ? {
          subscriptions: subscriptions.map((one: unknown) =>
            isMapping(one) && one['to'] === 'stdout' ? Object.assign({}, one, { to: { stdout: true } }) : one,
          ),
        }
      : {}),
  };
}
