/** Where the engine of a file can be asked. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { readDocument } from '../config/document.ts';
import { ConfigFaults } from '../config/faults.ts';
import { fileErrorCode } from '../config/file-error.ts';
import { readValues } from '../config/load.ts';
import { isMapping } from '../config/salvage.ts';
import { UserError } from '../errors.ts';
import type { Config } from '../config/config.ts';
import type { EngineAddress } from './ask-engine.ts';

/** Throws `UserError` where the file does not say. */
export function addressIn({ http }: Pick<Config, 'http'>, file: string): EngineAddress {
  if (http === undefined) throw new UserError('usage', `${file} says \`http: off\`: the engine cannot be asked.`);
  if (http.port === 0) {
    throw new UserError(
      'usage',
      `${file} lets the engine pick a port: name it with \`--url\`, as the engine logs it at its start.`,
    );
  }
  const everywhere: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '[::1]' };
  const host = everywhere[http.host] ?? (http.host.includes(':') ? `[${http.host}]` : http.host);
  return { url: `http://${host}:${http.port}`, token: http.token };
}

/** As a command line says it. */
export interface NamedEngine {
  readonly config?: string | undefined;
  readonly url?: string | undefined;
  readonly token?: string | undefined;
}

const DEFAULT_FILE = './tailrace.yaml';
const DEFAULT_URL = 'http://127.0.0.1:9464';
const ADVICE = ': name another one by its file (`-c`), by `--url`, or in TAILRACE_URL';

/** A file that is named; or else an address; or else `./tailrace.yaml`, where it is there. A token that is given goes before the file's. */
export async function addressOfNamed({ config, url, token }: NamedEngine): Promise<EngineAddress> {
  const file = config ?? (url === undefined && existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
  if (file === undefined) return { url: url ?? DEFAULT_URL, token, advice: ADVICE };
  const address = addressIn(await httpOf(file), file);
  return { ...address, ...(token !== undefined && { token }), advice: ADVICE };
}

/** Only that part is looked at: whoever asks an engine need not have what the rest takes from its environment. */
async function httpOf(file: string): Promise<Pick<Config, 'http'>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new UserError('config-invalid', `${resolve(file)} cannot be read (${fileErrorCode(error)})`, {
      cause: error,
    });
  }
  const faults = new ConfigFaults(file, { outcome: 'nobody was asked' });
  const values = readDocument(text, faults)?.values();
  if (faults.count > 0) throw faults.toError();
  const http: unknown = isMapping(values) ? values['http'] : undefined;
  const { config } = await readValues(
    { ...NOTHING_ELSE, ...(http !== undefined && { http }) },
    { env: process.env, name: file, folder: dirname(resolve(file)) },
  );
  return config;
}

/** What a file cannot be without. */
const NOTHING_ELSE = {
  sources: { none: { uri: 'mongodb://127.0.0.1/?replicaSet=none' } },
  subscriptions: [{ name: 'none', namespaces: ['none.none'], to: 'stdout' }],
};
