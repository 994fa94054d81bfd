/** The settings as a flat list, for documents and the test that holds them against the schema. */
import { z } from 'zod';
import { fileSchema } from './schema.ts';
import { unwrap } from './salvage.ts';

export interface Setting {
  /** `sources.NAME.uri`, `subscriptions[].batch.maxEvents`. */
  readonly path: string;
  readonly description: string;
  /** As it would be written; undefined where there is none. */
  readonly default: string | undefined;
}

export function settingsList(): readonly Setting[] {
  const settings: Setting[] = [];
  list(fileSchema, '', settings);
  return settings;
}

function list(schema: z.core.$ZodType, path: string, into: Setting[]): void {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject) {
    for (const [key, part] of Object.entries(inner.shape)) {
      const at = path === '' ? key : `${path}.${key}`;
      if (!holdsSettings(part)) {
        into.push({ path: at, description: z.globalRegistry.get(part)?.description ?? '', default: defaultOf(part) });
      }
      list(part, at, into);
    }
  } else if (inner instanceof z.ZodArray) {
    list(inner.element, `${path}[]`, into);
  } else if (inner instanceof z.ZodRecord) {
    list(inner.valueType, `${path}.NAME`, into);
  }
}

/** Only leaves are settings; what groups them is described by them. */
function holdsSettings(schema: z.core.$ZodType): boolean {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject) return true;
  if (inner instanceof z.ZodArray) return unwrap(inner.element) instanceof z.ZodObject;
  return inner instanceof z.ZodRecord && unwrap(inner.valueType) instanceof z.ZodObject;
}

function defaultOf(schema: z.core.$ZodType): string | undefined {
  if (!(schema instanceof z.ZodDefault) && !(schema instanceof z.ZodPrefault)) return undefined;
  const value = schema.def.defaultValue;
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
