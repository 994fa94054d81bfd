/**
 * Personal data stays inside: a secret that lies anywhere under a masked or excluded path is in nothing that leaves a worker,
 * whatever the document, the update's format and the subscription's format; and what no path meets stays as it was.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { BSON, Long } from 'bson';
import type { Document } from 'bson';
import fc from 'fast-check';
import type { CraftPlan, SubscriptionPlan } from '../../src/worker/protocol.ts';
import { Shaper } from '../../src/worker/shape.ts';
import { document, scalar } from './arbitraries.ts';
import { entry, messages, plan, run } from './fixtures.ts';

const SECRET = 'S3cr3tS3cr3t';
const name = fc.constantFrom('a', 'b', 'ssn', 'u', 's0', 'l', '7', 'd');
const path = fc.array(name, { minLength: 1, maxLength: 3 });

/** A document that holds the secret at a path, or below it, some of the way through arrays or as names with dots in them. */
const laden = fc
  .tuple(path, document, document, fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }))
  .map(([parts, around, below, turns]) => {
    let inner: unknown;
    if (turns[3] === 0) inner = SECRET;
    else if (turns[3] === 1) inner = { ...below, x: [SECRET] };
    else if (turns[3] === 2) inner = { [SECRET]: below, [`q.${SECRET}`]: 1 };
    else inner = [below, { y: { [SECRET]: SECRET } }];
    let joined: string | undefined;
    for (let k = parts.length - 1; k >= 0; k--) {
      const part: string = joined === undefined ? parts[k]! : `${parts[k]!}.${joined}`;
      if (turns[k] === 1 && k > 0) joined = part;
      else {
        joined = undefined;
        inner = { ...(k === 0 ? around : {}), [part]: inner };
        // A path passes through arrays, of arrays too.
        if (turns[k] === 2 && k > 0) inner = [1, inner];
        if (turns[k] === 3 && k > 0) inner = [[inner], { z: 1 }];
      }
    }
    const made: Document = inner as Document;
    return { path: parts.join('.'), document: made };
  });

interface Case {
  readonly path: string;
  readonly document: Document;
}

/** Dotted names as an old server's `$set` has them, down to a random depth. */
function flattened({ document: from }: Case, depth: number): [string, unknown][] {
  let fields: [string, unknown][] = Object.entries(from);
  for (let k = 0; k < depth; k++) {
    fields = fields.flatMap(([at, value]): [string, unknown][] => {
      const plain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
      if (!plain && !Array.isArray(value)) return [[at, value]];
      return Object.entries(value as Document).map(([key, one]): [string, unknown] => [`${at}.${key}`, one]);
    });
  }
  return fields;
}

/** The same as a `$v: 2` diff: as deep as `depth`, then as values. */
function diffOf(from: unknown, depth: number): Document {
  if (Array.isArray(from)) {
    const parts = from.map((value, k): [string, unknown] =>
      depth > 0 && typeof value === 'object' && value !== null && isPlain(value)
        ? [`s${k}`, diffOf(value, depth - 1)]
        : [`u${k}`, value],
    );
    return { a: true, ...Object.fromEntries(parts) };
  }
  const u: [string, unknown][] = [];
  const rest: [string, unknown][] = [];
  for (const [key, value] of Object.entries(from as Document)) {
    if (depth > 0 && typeof value === 'object' && value !== null && isPlain(value)) {
      rest.push([`s${key}`, diffOf(value, depth - 1)]);
    } else u.push([key, value]);
  }
  return { ...(u.length > 0 && { u: Object.fromEntries(u) }), ...Object.fromEntries(rest) };
}

function isPlain(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}

function entriesOf(one: Case, depth: number): Document[] {
  const key = { _id: 1 };
  const fields = flattened(one, depth);
  const removed = Object.fromEntries(fields.map(([at]) => [at, true]));
  const gone = Object.fromEntries(Object.keys(one.document).map((at) => [at, false]));
  return [
    entry(1, { op: 'i', o: { _id: 1, ...one.document }, o2: key }),
    entry(2, { op: 'u', o: { _id: 1, ...one.document }, o2: key }),
    entry(3, { op: 'u', o: { $v: 1, $set: Object.fromEntries(fields) }, o2: key }),
    entry(4, { op: 'u', o: { $v: 1, $unset: removed }, o2: key }),
    entry(5, { op: 'u', o: { $v: 2, diff: diffOf(one.document, depth) }, o2: key }),
    entry(6, { op: 'u', o: { $v: 2, diff: { d: gone } }, o2: key }),
    // A shard key, and an `_id` of several fields, hold what the document holds.
    entry(7, { op: 'd', o: { _id: 1, ...one.document } }),
  ];
}

const FORMATS = ['json', 'json-canonical', 'bson', 'debezium', 'cloudevents'] as const;
const cloudEvents = {
  mode: 'binary',
  source: '/{db}',
  type: 't.{operationType}',
  headerPrefix: 'cloudEvents:',
} as const;

function hiding(at: string): CraftPlan[] {
  return [
    { fields: { exclude: [at] } },
    { mask: [{ fields: [at], kind: 'constant', value: '***' }] },
    { mask: [{ fields: [at], kind: 'hash', key: 'a key that is long enough', encoding: 'base64' }] },
    { fields: { include: ['other'] } },
  ];
}

test('a secret under a masked or excluded path is in no output', () => {
  fc.assert(
    fc.property(laden, fc.nat(3), fc.nat(4), (one, depth, pick) => {
      const format = FORMATS[pick]!;
      const subscriptions = hiding(one.path).flatMap((craft): Partial<SubscriptionPlan>[] => [
        { craft: { ...craft, cloudEvents }, format, expanded: true },
        // Routing keys and headers look inside, and park what has none.
        { craft: { ...craft, cloudEvents, headers: { h: `{fullDocument.${one.path}}` } }, format },
        { craft: { ...craft, cloudEvents }, format, routingKey: `{fullDocument.${one.path}}` },
        { craft: { ...craft, cloudEvents }, format, maxMessageBytes: 300 },
        { craft: { ...craft, cloudEvents }, format, compression: 'gzip' },
      ]);
      const result = run(plan(subscriptions, { partitions: 1 }), entriesOf(one, depth), { serverVersion: 60_100 });
      for (const { body, key, headers, lane } of messages(result)) {
        const bytes = Buffer.from(lane % 5 === 4 ? gunzipSync(body) : body);
        assert.ok(!bytes.includes(SECRET), `body of subscription ${lane}: ${bytes.toString()}`);
        assert.ok(!key.includes(SECRET), key);
        assert.ok(!JSON.stringify(headers ?? {}).includes(SECRET), JSON.stringify(headers));
      }
      for (const { entry: bytes, ...parked } of result.parked) {
        assert.ok(!Buffer.from(bytes).includes(SECRET), `parked: ${parked.detail}`);
        assert.ok(!JSON.stringify(parked).includes(SECRET), JSON.stringify(parked));
      }
      // Not because nothing was sent.
      assert.ok(messages(result).length + result.parked.length === subscriptions.length * 7);
    }),
    { numRuns: 300 },
  );
});

test('the secret is there where nothing hides it: the test above can see it', () => {
  fc.assert(
    fc.property(laden, fc.nat(3), (one, depth) => {
      for (const k of [0, 1, 2, 4, 6]) {
        const [message] = messages(run(plan([{ craft: { headers: { a: 'b' } } }]), [entriesOf(one, depth)[k]!]));
        assert.ok(Buffer.from(message!.body).includes(SECRET));
      }
    }),
    { numRuns: 50 },
  );
});

test('damaged entries of such a subscription leave without their bytes', () => {
  fc.assert(
    fc.property(laden, fc.nat(), fc.nat(255), (one, where, byte) => {
      const bytes = BSON.serialize(entriesOf(one, 1)[0]!);
      bytes[4 + (where % (bytes.length - 5))] = byte;
      const result = run(plan([{ craft: { fields: { include: ['other'] } } }]), [bytes]);
      for (const { entry: kept } of result.parked) assert.ok(!Buffer.from(kept).includes(SECRET));
    }),
    { numRuns: 300 },
  );
});

test('what no path meets is unchanged, byte for byte', () => {
  const plans: CraftPlan[] = hiding('no.such.path').slice(0, 3);
  fc.assert(
    fc.property(document, scalar, (one, id) => {
      const event = BSON.serialize({
        _id: 'x',
        operationType: 'update',
        documentKey: { _id: id },
        fullDocument: one,
        updateDescription: {
          updatedFields: one,
          removedFields: ['a', 'b.c'],
          truncatedArrays: [{ field: 'x', newSize: 1 }],
        },
        txnNumber: Long.fromInt(1),
      });
      for (const craft of plans) assert.deepEqual(Buffer.from(new Shaper(craft).shape(event)), Buffer.from(event));
    }),
  );
});

test('of a document with a masked field, everything else is unchanged', () => {
  fc.assert(
    fc.property(document, document, (one, other) => {
      const full = { ...one, hidden: other, after: 1 };
      const event = BSON.serialize({ operationType: 'insert', documentKey: {}, fullDocument: full });
      const excluded = new Shaper({ fields: { exclude: ['hidden'] } }).shape(event);
      const masked = new Shaper({ mask: [{ fields: ['hidden'], kind: 'constant', value: 5 }] });
      const clean = Object.fromEntries(
        Object.entries(full).filter(([key]) => key !== 'hidden' && !key.startsWith('hidden.')),
      );
      const expected = { operationType: 'insert', documentKey: {}, fullDocument: clean };
      assert.deepEqual(Buffer.from(excluded), Buffer.from(BSON.serialize(expected)));
      const withMask = { ...expected, fullDocument: { ...full, hidden: 5 } };
      assert.deepEqual(Buffer.from(masked.shape(event)), Buffer.from(BSON.serialize(withMask)));
    }),
  );
});

test('parts of a command in which values can stand are left out of what a subscription with hidden fields sees', () => {
  const event = BSON.serialize({
    operationType: 'createIndexes',
    operationDescription: {
      indexes: [{ v: 2, key: { ssn: 1 }, name: 'ssn_1', partialFilterExpression: { ssn: SECRET } }],
      validator: { ssn: SECRET },
    },
  });
  const shaped = BSON.deserialize(new Shaper({ fields: { exclude: ['ssn'] } }).shape(event));
  assert.deepEqual(shaped['operationDescription'], { indexes: [{ v: 2, key: { ssn: 1 }, name: 'ssn_1' }] });
});
