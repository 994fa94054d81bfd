/** Who keeps the last states of documents. */
import type { Config } from '../config/config.ts';

export function keepingStates({ subscriptions }: Pick<Config, 'subscriptions'>): ReadonlySet<string> {
  return new Set(subscriptions.filter(({ images }) => images?.local !== undefined).map(({ name }) => name));
}
