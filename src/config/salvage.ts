/**
 * What is sound in a file with faults: so that a misspelt unit in one place does not hide two subscriptions that get in
 * each other's way in another, and all of it is in one report.
 */
import { z } from 'zod';
import type { Start } from './config.ts';

/** Any part may be missing, the elements of a list too. */
export type Loose<T> = T extends string | number | boolean | null | undefined
  ? T
  : unknown extends T
    ? T
    : T extends Start
      ? T
      : T extends readonly (infer E)[]
        ? readonly (Loose<E> | undefined)[]
        : { readonly [K in keyof T]?: Loose<T[K]> | undefined };

export function salvage<T extends z.ZodType>(schema: T, raw: unknown): Loose<z.output<T>> | undefined {
  // Every part is the output of its part of the schema, or missing: which is what the type says.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return salvageAny(schema, raw) as Loose<z.output<T>> | undefined;
}

function salvageAny(schema: z.core.$ZodType, raw: unknown): unknown {
  const parsed = z.safeParse(schema, raw);
  if (parsed.success) return parsed.data;
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) {
    return Array.isArray(raw) ? raw.map((item) => salvageAny(inner.element, item)) : undefined;
  }
  if (!isMapping(raw)) return undefined;
  const sound: Record<string, unknown> = {};
  if (inner instanceof z.ZodObject) {
    for (const [key, part] of Object.entries(inner.shape)) {
      sound[key] = salvageAny(part, Object.hasOwn(raw, key) ? raw[key] : undefined);
    }
    return sound;
  }
  if (inner instanceof z.ZodRecord) {
    for (const [key, item] of Object.entries(raw)) {
      if (key !== '__proto__') sound[key] = salvageAny(inner.valueType, item);
    }
    return sound;
  }
  return undefined;
}

/** The schema beneath defaults and optionality. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return unwrap(schema.unwrap());
  }
  return schema;
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
