/**
 * What may be set, from the OpenAPI document of the engine that answers: made of the very schemas that it checks with, so that a form has
 * every setting, its words and its default, and none that there is not.
 */

export interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

export type Shape =
  | { readonly kind: 'text' | 'number' | 'flag' | 'lines' | 'json' }
  | { readonly kind: 'choice' | 'choices'; readonly options: readonly string[] }
  | { readonly kind: 'group'; readonly settings: readonly Setting[] };

export interface Setting {
  readonly name: string;
  /** `to.queue`, as faults name it. */
  readonly path: string;
  readonly description: string;
  /** Where it is not said. */
  readonly usual: unknown;
  readonly isRequired: boolean;
  readonly shape: Shape;
}

export type Mapping = Readonly<Record<string, unknown>>;

export function settingsOf({ properties = {}, required = [] }: Schema, path = ''): readonly Setting[] {
  return Object.entries(properties).map(([name, schema]) => {
    const own = path === '' ? name : `${path}.${name}`;
    return {
      name,
      path: own,
      description: schema.description ?? '',
      usual: schema.default,
      isRequired: required.includes(name),
      shape: shapeOf(schema, own),
    };
  });
}

function shapeOf(schema: Schema, path: string): Shape {
  // The other one is the placeholder, which any value may be.
  const leaf = schema.anyOf?.[0] ?? schema;
  if (leaf.enum) return { kind: 'choice', options: leaf.enum };
  switch (leaf.type) {
    case 'boolean':
      return { kind: 'flag' };
    case 'integer':
    case 'number':
      return { kind: 'number' };
    case 'string':
      return { kind: 'text' };
    case 'array': {
      const one = leaf.items?.anyOf?.[0] ?? leaf.items;
      if (one?.enum) return { kind: 'choices', options: one.enum };
      return { kind: one?.type === 'string' ? 'lines' : 'json' };
    }
    case 'object':
      return leaf.properties ? { kind: 'group', settings: settingsOf(leaf, path) } : { kind: 'json' };
    case undefined:
      // A time or a size as it is written: `5s`, `64KiB`.
      return { kind: typeof schema.default === 'string' ? 'text' : 'json' };
    default:
      return { kind: 'json' };
  }
}

export function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Without it where `value` is undefined. */
export function withSetting(of: Mapping, name: string, value: unknown): Mapping {
  const { [name]: before, ...rest } = of;
  void before;
  if (value === undefined) return rest;
  // In its place, where it was there.
  return name in of ? { ...of, [name]: value } : { ...rest, [name]: value };
}
