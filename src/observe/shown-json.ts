/** JSON as it leaves this process, without secrets. Values only: who has "connected" for a password shall still find the key. */
import { withoutKnownSecrets } from '../config/known-secrets.ts';

export function shownJson(value: unknown, without = withoutKnownSecrets): string {
  return JSON.stringify(value, (_, it: unknown) => (typeof it === 'string' ? without(it) : it));
}
