/**
 * What is managed: sources, sinks and subscriptions, as they are written (placeholders not filled in, secrets as they stand there).
 * Pure: what differs between two of them, and what one becomes when a part of it is changed.
 */
import { canonicalJson } from './canonical-json.ts';
import { shownSecretless } from './declared.ts';
import { HIDDEN } from './redact.ts';
import { isMapping } from './salvage.ts';
import type { SubscriptionConfig } from './config.ts';
import type { Path } from './faults.ts';

export interface Definitions {
  readonly sources: Readonly<Record<string, unknown>>;
  readonly sinks: Readonly<Record<string, unknown>>;
  /** By name; in this order. */
  readonly subscriptions: Readonly<Record<string, unknown>>;
}

export const KINDS = ['source', 'sink', 'subscription'] as const;
export type Kind = (typeof KINDS)[number];

export interface Difference {
  readonly kind: Kind;
  readonly name: string;
  readonly change: 'added' | 'changed' | 'removed';
  /** Of what is changed: which settings, `to.queue`. Never their values. */
  readonly settings: readonly string[];
}

/** Where a file has them. */
export const PLACE = { source: 'sources', sink: 'sinks', subscription: 'subscriptions' } as const;

/** Of a file without faults; `resolved`: its subscriptions, whose names may be placeholders there. */
export function definitionsOf(
  written: Readonly<Record<string, unknown>>,
  resolved: readonly SubscriptionConfig[],
): Definitions {
  const { sources, sinks, subscriptions } = written;
  const list: readonly unknown[] = Array.isArray(subscriptions) ? subscriptions : [];
  const byName = Object.fromEntries(resolved.map(({ name }, i) => [name, withoutName(list[i])]));
  return withNames({ sources: mapping(sources), sinks: mapping(sinks), subscriptions: byName }, resolved);
}

/** A subscription may leave out its source and its sink where there is one of them: they are named, so that another may come. */
export function withNames(definitions: Definitions, subscriptions: readonly SubscriptionConfig[]): Definitions {
  const named = subscriptions.map(({ name, source, to }) => {
    const { to: destination, ...one } = mapping(definitions.subscriptions[name]);
    const sink = 'sink' in to ? { sink: to.sink } : {};
    // It may be the word `stdout`.
    const named = isMapping(destination) ? { ...sink, ...destination } : destination;
    return [name, { source, ...one, to: named }] as const;
  });
  return { ...definitions, subscriptions: Object.fromEntries(named) };
}

/** As a file has it, with everything else that is in one. */
export function fileOf(rest: Readonly<Record<string, unknown>>, definitions: Definitions): Record<string, unknown> {
  return {
    ...rest,
    sources: definitions.sources,
    sinks: definitions.sinks,
    subscriptions: Object.entries(definitions.subscriptions).map(([name, one]) => ({ name, ...mapping(one) })),
  };
}

/** `undefined`: without it. */
export function withOne(definitions: Definitions, kind: Kind, name: string, value: unknown): Definitions {
  const place = PLACE[kind];
  const { [name]: before, ...others } = definitions[place];
  if (value === undefined) return { ...definitions, [place]: others };
  const whole = withSecrets(value, before);
  // One that is there keeps its place.
  return { ...definitions, [place]: { ...definitions[place], [name]: whole } };
}

export function has(definitions: Definitions, kind: Kind, name: string): boolean {
  return Object.hasOwn(definitions[PLACE[kind]], name);
}

export function differences(before: Definitions, after: Definitions): Difference[] {
  return KINDS.flatMap((kind) => {
    const [old, fresh] = [before[PLACE[kind]], after[PLACE[kind]]];
    const names = [...new Set([...Object.keys(old), ...Object.keys(fresh)])];
    return names.flatMap((name): Difference[] => {
      if (!Object.hasOwn(fresh, name)) return [{ kind, name, change: 'removed', settings: [] }];
      if (!Object.hasOwn(old, name)) return [{ kind, name, change: 'added', settings: [] }];
      const settings = changedSettings(old[name], fresh[name]);
      return settings.length === 0 ? [] : [{ kind, name, change: 'changed', settings }];
    });
  });
}

/** What people are shown instead of a secret, sent back, stands for that secret. */
export function withSecrets(value: unknown, before: unknown): unknown {
  return restored(value, before, shownSecretless(before));
}

function restored(value: unknown, before: unknown, shown: unknown): unknown {
  if (typeof value === 'string') return value === shown ? before : value;
  if (Array.isArray(value)) {
    const [old, oldShown]: [unknown[], unknown[]] = [asList(before), asList(shown)];
    return value.map((one) => {
      // Of a list that was changed: the part that is shown alike, or is about the same fields.
      const at = oldShown.findIndex((shownOne) => isAlike(one, shownOne));
      return restored(one, old[at], oldShown[at]);
    });
  }
  if (!isMapping(value)) return value;
  const [old, oldShown] = [mapping(before), mapping(shown)];
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, restored(one, old[key], oldShown[key])]));
}

function isAlike(value: unknown, shown: unknown): boolean {
  if (!isMapping(value) || !isMapping(shown)) return value === shown;
  const same = (a: unknown, b: unknown): boolean => canonicalJson(a ?? null) === canonicalJson(b ?? null);
  return same(value, shown) || (value['fields'] !== undefined && same(value['fields'], shown['fields']));
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Where something that was hidden has come back, and nobody knows for what it stands. */
export function hiddenIn(value: unknown, path: Path = []): Path | undefined {
  if (typeof value === 'string') return value.includes(HIDDEN) ? path : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, one] of Object.entries(value)) {
    const found = hiddenIn(one, [...path, Array.isArray(value) ? Number(key) : key]);
    if (found) return found;
  }
  return undefined;
}

function changedSettings(before: unknown, after: unknown, path = ''): string[] {
  if (isMapping(before) && isMapping(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) => changedSettings(before[key], after[key], path === '' ? key : `${path}.${key}`));
  }
  return canonicalJson(before ?? null) === canonicalJson(after ?? null) ? [] : [path];
}

function withoutName(one: unknown): unknown {
  const { name, ...rest } = mapping(one);
  void name;
  return rest;
}

function mapping(value: unknown): Record<string, unknown> {
  return isMapping(value) ? value : {};
}
