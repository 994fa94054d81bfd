/**
 * The workload: out of a seed a list of steps, always the same one. A step is plain commands; making the list asks no server,
 * so any part of it can be run again by itself. A step may fail on the server (an operator that does not fit the document):
 * then nothing is written and both listeners have nothing to tell.
 */
import { Int32 } from 'bson';
import { Fields } from './bson.ts';
import { ddlStep } from './ddl-steps.ts';
import { Random } from './random.ts';
import { documentOf, randomUpdate } from './updates.ts';
import type { Update } from './updates.ts';
import { randomId } from './values.ts';

export interface Command {
  readonly db: string;
  readonly body: Record<string, unknown>;
}

export type Step =
  /** `retryable`: with a session and a number, as drivers write by default. */
  | {
      readonly kind: 'write';
      readonly command: Command;
      readonly retryable: boolean;
      /** Sent a second time, as by a driver that has had no answer. */
      readonly retried: boolean;
      readonly operations: number;
    }
  /** Ours is stopped and started, as by SIGTERM. */
  | { readonly kind: 'restart'; readonly operations: 0 }
  | { readonly kind: 'admin'; readonly command: Command; readonly operations: number }
  | {
      readonly kind: 'transaction';
      readonly commands: readonly Command[];
      readonly commit: boolean;
      readonly operations: number;
    };

export interface WorkloadOptions {
  readonly seed: number;
  readonly operations: number;
  readonly ddl: boolean;
  /** Transactions that need several oplog entries: by many operations, and (rarely) by more than 16 MB. */
  readonly large: boolean;
}

export const DATABASES = ['eq_a', 'eq_b', 'eq-ü'];
const COLLECTIONS = ['c', 'plain', 'with.dots', 'été 日本', 'UPPER', '0'];

export interface Place {
  readonly db: string;
  readonly coll: string;
}

/** What the list's making knows of the collections so far: numbers that documents may have. */
export class Model {
  readonly random: Random;
  readonly options: WorkloadOptions;
  #numbers = new Map<string, number>();

  constructor(options: WorkloadOptions) {
    this.random = new Random(options.seed);
    this.options = options;
  }

  place(): Place {
    return { db: this.random.pick(DATABASES), coll: this.random.pick(COLLECTIONS) };
  }

  newNumber({ db, coll }: Place): number {
    const ns = `${db}.${coll}`;
    const number = (this.#numbers.get(ns) ?? 0) + 1;
    this.#numbers.set(ns, number);
    return number;
  }

  /** One that is likely to exist. */
  someNumber({ db, coll }: Place): number {
    const newest = this.#numbers.get(`${db}.${coll}`) ?? 0;
    return Math.max(1, newest - this.random.below(30));
  }
}

export function stepsOf(options: WorkloadOptions): Step[] {
  const model = new Model(options);
  const steps: Step[] = DATABASES.map((db) => admin(db, { dropDatabase: 1 }, 0));
  let operations = 0;
  while (operations < options.operations) {
    const step = nextStep(model);
    steps.push(step);
    operations += step.operations;
  }
  return steps;
}

export function admin(db: string, body: Record<string, unknown>, operations = 1): Step {
  return { kind: 'admin', command: { db, body }, operations };
}

function nextStep(model: Model): Step {
  const { random, options } = model;
  if (random.chance(0.0008)) return { kind: 'restart', operations: 0 };
  if (options.ddl && random.chance(0.03)) return ddlStep(model);
  if (options.large && random.chance(0.0004)) return hugeTransaction(model);
  if (random.chance(0.06)) return transaction(model);
  const place = model.place();
  const { operations, body } = writeOf(model, place);
  const retryable = random.chance(0.5) && !hasMulti(body);
  const ordered = random.chance(0.7) && !('findAndModify' in body) ? { ordered: false } : {};
  return {
    kind: 'write',
    command: { db: place.db, body: { ...body, ...ordered } },
    retryable,
    retried: retryable && random.chance(0.1),
    operations,
  };
}

/** The server takes no transaction number with writes of many documents. */
function hasMulti(body: Record<string, unknown>): boolean {
  const writes = (body['updates'] ?? body['deletes'] ?? []) as { multi?: boolean; limit?: Int32 }[];
  return writes.some(({ multi, limit }) => multi === true || (limit as unknown as { value?: number })?.value === 0);
}

interface Write {
  readonly body: Record<string, unknown>;
  readonly operations: number;
}

function writeOf(model: Model, place: Place): Write {
  const { random } = model;
  return random.weighted<() => Write>([
    [20, () => insert(model, place, random.chance(0.5) ? 1 : random.between(2, 10))],
    [40, () => update(model, place, random.chance(0.6) ? 1 : random.between(2, 12))],
    [12, () => remove(model, place, random.chance(0.7) ? 1 : random.between(2, 4))],
    [14, () => findAndModify(model, place)],
  ])();
}

function insert(model: Model, place: Place, count: number): Write {
  const documents = model.random.many(count, () => documentOf(model.random, model.newNumber(place)));
  return { body: { insert: place.coll, documents }, operations: count };
}

function update(model: Model, place: Place, count: number): Write {
  const { random } = model;
  const updates = random.many(count, () => {
    const update = randomUpdate(random);
    const changes = Array.isArray(update.u) || firstName(update.u).startsWith('$');
    const multi = changes && random.chance(0.15);
    const upsert = random.chance(0.1);
    return {
      q: multi ? manyFilter(model) : filterOf(model, place, update),
      u: update.u,
      ...(multi ? { multi } : {}),
      ...(upsert ? { upsert } : {}),
      ...(update.arrayFilters === undefined ? {} : { arrayFilters: update.arrayFilters }),
    };
  });
  return { body: { update: place.coll, updates }, operations: count };
}

function firstName(document: unknown): string {
  const name = document instanceof Fields ? document.list[0]?.[0] : Object.keys(document as object)[0];
  return name ?? '';
}

function remove(model: Model, place: Place, count: number): Write {
  const { random } = model;
  const deletes = random.many(count, () =>
    random.chance(0.1)
      ? { q: manyFilter(model), limit: new Int32(0) }
      : { q: filterOf(model, place), limit: new Int32(1) },
  );
  return { body: { delete: place.coll, deletes }, operations: count };
}

function findAndModify(model: Model, place: Place): Write {
  const { random } = model;
  const update = randomUpdate(random);
  const what = random.chance(0.3)
    ? { remove: true }
    : {
        update: update.u,
        ...(update.arrayFilters === undefined ? {} : { arrayFilters: update.arrayFilters }),
        ...(random.chance(0.5) ? { new: true } : {}),
        ...(random.chance(0.2) ? { upsert: true } : {}),
      };
  return { body: { findAndModify: place.coll, query: filterOf(model, place, update), ...what }, operations: 1 };
}

function filterOf(model: Model, place: Place, update?: Update): Fields {
  const { random } = model;
  const number = model.someNumber(place);
  const byId: readonly [string, unknown] = random.chance(0.15)
    ? ['_id', randomId(random, number)]
    : ['n', { $gte: new Int32(number) }];
  return new Fields([byId, ...(update?.filter ?? [])]);
}

/** Matches a few of the documents. */
function manyFilter(model: Model): Fields {
  const { random } = model;
  const from = random.below(300);
  return new Fields([
    ['n', { $gte: new Int32(from), $lt: new Int32(from + 30) }],
    ['k', new Int32(random.below(7))],
  ]);
}

function transaction(model: Model): Step {
  const { random } = model;
  const commands = random.many(random.between(1, 6), () => {
    const place = model.place();
    const write = model.options.ddl && random.chance(0.08) ? ddlInTransaction(model, place) : writeOf(model, place);
    return { ...write, db: place.db };
  });
  return {
    kind: 'transaction',
    commands: commands.map(({ db, body }) => ({ db, body })),
    commit: random.chance(0.8),
    operations: commands.reduce((sum, { operations }) => sum + operations, 0),
  };
}

/** What a transaction may create; the server refuses it where the collection is there already. */
function ddlInTransaction({ random }: Model, { coll }: Place): Write {
  const indexes = [{ key: { k: new Int32(1) }, name: 'k_1' }];
  return { body: random.chance(0.5) ? { create: coll } : { createIndexes: coll, indexes }, operations: 1 };
}

/** More than one oplog entry can hold. */
function hugeTransaction(model: Model): Step {
  const { random } = model;
  const commands = random.many(random.between(18, 34), () => {
    const place = model.place();
    const { list } = documentOf(random, model.newNumber(place));
    const large = new Fields([...list.filter(([name]) => name !== 'big'), ['big', 'x'.repeat(2 ** 20)]]);
    return { db: place.db, body: { insert: place.coll, documents: [large] } };
  });
  return { kind: 'transaction', commands, commit: random.chance(0.9), operations: commands.length };
}
