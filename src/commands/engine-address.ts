/** Where the engine of a file can be asked. */
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
