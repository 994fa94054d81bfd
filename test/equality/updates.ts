/**
 * Random updates: operators of every family, positional ones, replacements, and pipelines, which are how a document gets
 * fields with dots and dollars. They are aimed at documents of `documentOf`, so that most of them change something.
 */
import { Double, Int32, Long } from 'bson';
import { Fields } from './bson.ts';
import type { Random } from './random.ts';
import { ODD_NAMES, PLAIN_NAMES, randomDocument, randomId, randomName, randomValue } from './values.ts';

/** A document with the parts that updates look for, and some that nobody expects. */
export function documentOf(random: Random, number: number, id: unknown = randomId(random, number)): Fields {
  const extra = new Set(random.many(random.below(4), () => randomName(random)));
  return new Fields([
    ...(random.chance(0.02) ? [] : [['_id', id] as const]),
    ['n', random.pick([new Int32(number), new Double(number), Long.fromNumber(number)])],
    ['k', new Int32(number % 7)],
    [
      'o',
      new Fields([
        [
          'p',
          new Fields([
            ['q', randomValue(random, 2)],
            ['r', new Int32(1)],
          ]),
        ],
        ['0', randomValue(random, 3)],
      ]),
    ],
    ['arr', random.many(random.below(6), () => new Int32(random.below(9)))],
    [
      'list',
      random.many(
        random.below(4),
        () =>
          new Fields([
            ['k', new Int32(random.below(4))],
            ['v', randomValue(random, 3)],
          ]),
      ),
    ],
    ...[...extra].filter((name) => name !== '_id').map((name) => [name, randomValue(random, 1)] as const),
  ]);
}

export interface Update {
  readonly u: unknown;
  /** Beside the `_id`, for positional operators. */
  readonly filter?: readonly (readonly [string, unknown])[];
  readonly arrayFilters?: readonly unknown[];
}

export function randomUpdate(random: Random): Update {
  return random.weighted<() => Update>([
    [10, () => ({ u: new Fields(operators(random)) })],
    [4, () => positional(random)],
    [3, () => ({ u: replacement(random) })],
    [7, () => ({ u: random.many(random.between(1, 2), () => stage(random)) })],
  ])();
}

function replacement(random: Random): Fields {
  const { list } = random.chance(0.5) ? documentOf(random, random.below(1000), null) : randomDocument(random);
  return new Fields(list.filter(([name]) => name !== '_id'));
}

/** One to three operators, whose paths do not meet: each takes its own part of the document. */
function operators(random: Random): (readonly [string, unknown])[] {
  const parts = ['free', 'n', 'o', 'arr', 'list'].filter(() => random.chance(0.45));
  const operators = new Map<string, [string, unknown][]>();
  for (const part of parts.length > 0 ? parts : ['free']) {
    const [operator, path, operand] = onPart(random, part);
    const fields = operators.get(operator) ?? [];
    fields.push([path, operand]);
    operators.set(operator, fields);
  }
  return [...operators].map(([operator, fields]) => [operator, new Fields(fields)] as const);
}

function onPart(random: Random, part: string): [operator: string, path: string, operand: unknown] {
  switch (part) {
    case 'n':
      return random.pick<[string, string, unknown]>([
        ['$inc', 'n', random.pick([new Int32(1), new Double(0.5), Long.fromNumber(2)])],
        ['$mul', 'n', new Int32(2)],
        ['$min', 'n', new Int32(3)],
        ['$max', 'n', new Double(1e6)],
        ['$bit', 'n', { or: new Int32(5) }],
        ['$rename', 'n', 'm'],
        ['$set', 'n', new Int32(random.below(100))],
      ]);
    case 'o':
      return random.pick<[string, string, unknown]>([
        ['$set', random.pick(['o.p.q', 'o.0', 'o.p.r.s', 'o.u', 'o.p.l.0', 'o.s0.d']), randomValue(random, 2)],
        ['$set', 'o', randomValue(random, 1)],
        ['$unset', random.pick(['o.p', 'o.p.q', 'o.0', 'o']), ''],
        ['$currentDate', random.pick(['o.at', 'o.p.at']), random.chance(0.5) ? true : { $type: 'timestamp' }],
        ['$rename', 'o.p', 'moved'],
      ]);
    case 'arr':
      return onArray(random);
    case 'list':
      return random.pick<[string, string, unknown]>([
        ['$set', random.pick(['list.0.v', 'list.1.v.w', 'list.2.k', 'list.5']), randomValue(random, 2)],
        ['$unset', random.pick(['list.0.v', 'list.1.k', 'list.0']), ''],
        [
          '$push',
          'list',
          new Fields([
            ['k', new Int32(1)],
            ['v', randomValue(random, 3)],
          ]),
        ],
        ['$pull', 'list', { k: new Int32(random.below(4)) }],
        ['$set', 'list.$[].v', randomValue(random, 3)],
        ['$pop', 'list', new Int32(-1)],
      ]);
    default:
      return random.pick<[string, string, unknown]>([
        ['$set', random.pick(PLAIN_NAMES), randomValue(random, 1)],
        ['$set', `${random.pick(PLAIN_NAMES)}.${random.pick(PLAIN_NAMES)}`, randomValue(random, 2)],
        ['$unset', random.pick(PLAIN_NAMES), ''],
        ['$setOnInsert', 'born', randomValue(random, 2)],
        ['$addToSet', random.pick(PLAIN_NAMES), randomValue(random, 2)],
      ]);
  }
}

function onArray(random: Random): [operator: string, path: string, operand: unknown] {
  const number = (): Int32 => new Int32(random.below(9));
  return random.pick<[string, string, unknown]>([
    ['$push', 'arr', number()],
    ['$push', 'arr', { $each: random.many(3, number), $slice: new Int32(random.between(-4, 4)) }],
    ['$push', 'arr', { $each: random.many(2, number), $position: new Int32(random.below(3)) }],
    ['$push', 'arr', { $each: random.many(2, number), $sort: new Int32(-1) }],
    ['$addToSet', 'arr', { $each: random.many(3, number) }],
    ['$pop', 'arr', new Int32(random.chance(0.5) ? 1 : -1)],
    ['$pull', 'arr', random.chance(0.5) ? number() : { $gte: new Int32(5) }],
    ['$pullAll', 'arr', random.many(2, number)],
    ['$set', `arr.${random.pick(['0', '1', '3', '7'])}`, randomValue(random, 2)],
    ['$unset', 'arr.1', ''],
    ['$inc', 'arr.$[]', new Int32(1)],
    ['$set', 'arr', random.many(random.below(4), number)],
  ]);
}

function positional(random: Random): Update {
  const k = new Int32(random.below(4));
  const value = randomValue(random, 2);
  return random.pick<Update>([
    { u: { $set: { 'list.$.v': value } }, filter: [['list.k', k]] },
    { u: { $set: { 'list.$.w.x': value } }, filter: [['list.k', k]] },
    { u: { $unset: { 'list.$.v': '' } }, filter: [['list.k', k]] },
    { u: { $inc: { 'arr.$': new Int32(1) } }, filter: [['arr', { $gt: new Int32(2) }]] },
    { u: { $set: { 'list.$[e].v': value } }, arrayFilters: [{ 'e.k': k }] },
    {
      u: { $set: { 'list.$[e].v.deep': value }, $inc: { 'arr.$[x]': new Int32(3) } },
      arrayFilters: [{ 'e.k': { $gt: k } }, { x: { $gt: new Int32(4) } }],
    },
  ]);
}

function stage(random: Random): unknown {
  const literal = { $literal: randomValue(random, 1) };
  return random.weighted<() => unknown>([
    [
      4,
      () => ({
        $set: new Fields([
          [random.pick(PLAIN_NAMES), literal],
          ['o.p.t', { $literal: randomValue(random, 2) }],
        ]),
      }),
    ],
    [
      2,
      () => ({
        $unset: random.many(2, () => random.pick(PLAIN_NAMES)).filter((name, k, all) => all.indexOf(name) === k),
      }),
    ],
    [3, () => ({ $replaceWith: { $mergeObjects: ['$$ROOT', { $literal: randomDocument(random, 1) }] } })],
    [1, () => ({ $replaceWith: { $mergeObjects: [{ _id: '$_id' }, { $literal: replacement(random) }] } })],
    [3, () => ({ $set: { arr: { $concatArrays: ['$arr', random.many(2, () => new Int32(random.below(9)))] } } })],
    [3, () => ({ $set: { arr: { $slice: ['$arr', new Int32(random.between(1, 3))] } } })],
    [3, () => ({ $set: { list: { $slice: ['$list', new Int32(random.between(1, 2))] } } })],
    [
      2,
      () => ({ $set: { list: { $map: { input: '$list', as: 'e', in: { $mergeObjects: ['$$e', { v: literal }] } } } } }),
    ],
    [3, () => setField(random, random.pick(ODD_NAMES), '$$ROOT', literal)],
    [3, () => ({ $set: { o: withField(random.pick([...ODD_NAMES, ...PLAIN_NAMES]), '$o', literal) } })],
    [2, () => ({ $set: { 'o.p': withField(random.pick([...ODD_NAMES, '0', '7']), '$o.p', literal) } })],
    [2, () => ({ $set: { [`o.${random.pick(['x', '0'])}`]: { $literal: randomDocument(random, 2) } } })],
  ])();
}

function setField(random: Random, name: string, input: string, value: unknown): unknown {
  return { $replaceWith: withField(name, input, random.chance(0.2) ? '$$REMOVE' : value) };
}

function withField(name: string, input: string, value: unknown): unknown {
  return { $setField: { field: { $literal: name }, input, value } };
}
