import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ZSTD_KNOWN } from '../../src/worker/compress.ts';
import { faultsOf, file, load } from './fixtures.ts';

function subscription(more: string, to = '{ queue: q }'): string {
  return file([`{ name: s, namespaces: ["a.*"], to: ${to}, ${more} }`]);
}

async function faultOf(more: string, to?: string): Promise<string> {
  const faults = await faultsOf(subscription(more, to));
  assert.equal(faults.length, 1, faults.join('\n'));
  return faults[0]!;
}

test('what is asked for beyond the event reaches the configuration, and nothing does where nothing is asked for', async () => {
  const asked = `format: cloudevents, cloudevents: { mode: binary }, compression: gzip, headers: { tenant: "{db}" },
    fields: { include: [a.b], exclude: [a.b.c] },
    mask: [{ fields: [x], with: null }, { fields: [y], hash: { key: "\${KEY}" } }],
    where: { field: fullDocument.n, gt: 5 }, whenUnknown: skip`;
  const config = await load(subscription(asked), { KEY: 'k'.repeat(16) });
  const { format, cloudEvents, compression, headers, fields, mask, where } = config.subscriptions[0]!;
  assert.deepEqual(
    { format, cloudEvents, compression, headers, fields, mask, where },
    {
      format: 'cloudevents',
      cloudEvents: {
        mode: 'binary',
        source: '/{source}/{db}/{coll}',
        type: 'mongodb.{operationType}',
        headerPrefix: 'cloudEvents:',
      },
      compression: 'gzip',
      headers: { tenant: '{db}' },
      fields: { include: ['a.b'], exclude: ['a.b.c'] },
      mask: [
        { fields: ['x'], kind: 'constant', value: null },
        { fields: ['y'], kind: 'hash', key: 'k'.repeat(16), encoding: 'hex' },
      ],
      where: {
        condition: {
          kind: 'field',
          root: 'fullDocument',
          path: 'n',
          test: { op: 'gt', value: { type: 'number', value: 5 } },
        },
        whenUnknown: 'skip',
      },
    },
  );
  const plain = (await load(subscription('format: json'))).subscriptions[0]!;
  for (const key of ['cloudEvents', 'compression', 'headers', 'fields', 'mask', 'where']) assert.ok(!(key in plain));
});

test('formats that need headers, or know no batches or commands, say so', async () => {
  const stdout = 'stdout';
  assert.match(await faultOf('format: debezium', stdout), /key is a header of the message, and stdout has no headers/);
  assert.match(
    await faultOf('format: cloudevents, cloudevents: { mode: binary }', stdout),
    /structured, because stdout/,
  );
  assert.match(await faultOf('format: cloudevents, batch: { maxEvents: 2 }'), /AMQP binding has no form for batches/);
  assert.match(await faultOf('format: debezium, batch: { maxEvents: 2 }'), /key is a header of its message/);
  assert.match(await faultOf('format: debezium, operations: [insert, drop]'), /found drop; expected only insert/);
  assert.match(await faultOf('format: debezium, transactions: true'), /no form for their events/);
  assert.match(await faultOf('cloudevents: { mode: binary }'), /without `format: cloudevents`/);
  assert.deepEqual(await faultsOf(subscription('format: cloudevents', stdout)), []);
});

test('headers and compression say what they cannot be', async () => {
  assert.match(await faultOf('headers: { a: x }', 'stdout'), /which has no headers/);
  assert.match(await faultOf('headers: { BCC: x }'), /RabbitMQ routes by/);
  assert.match(await faultOf('headers: { key: x }, format: debezium'), /event's key/);
  assert.match(await faultOf('headers: { "cloudEvents:id": x }, format: cloudevents'), /attributes of a CloudEvent/);
  assert.match(await faultOf('headers: { a: "{nothing}" }'), /there is no \{nothing\}/);
  assert.match(await faultOf('compression: gzip', 'stdout'), /lines of text/);
  if (ZSTD_KNOWN) assert.deepEqual(await faultsOf(subscription('compression: zstd')), []);
  else assert.match(await faultOf('compression: zstd'), /Node has zstd from version 22\.15 on, and this is v/);
});

test('a mask is one thing or the other, and its key is never shown', async () => {
  assert.match(await faultOf('mask: [{ fields: [a] }]'), /neither with nor hash/);
  assert.match(await faultOf(`mask: [{ fields: [a], with: x, hash: { key: ${'k'.repeat(20)} } }]`), /with and hash/);
  const short = await faultOf('mask: [{ fields: [a], hash: { key: s3cr3t } }]');
  assert.match(short, /at least 16 characters/);
  assert.doesNotMatch(short, /s3cr3t/);
  assert.match(await faultOf('fields: { exclude: ["a..b"] }'), /a path such as/);
});

test('a condition is checked to its depths, and comes with what to do when it cannot be judged', async () => {
  const faulty = async (where: string): Promise<string> => faultOf(`where: ${where}, whenUnknown: skip`);
  assert.match(await faultOf('where: { operation: insert }'), /whenUnknown.*deliver or skip, because there is a where/);
  assert.match(await faultOf('whenUnknown: skip'), /found without where/);
  assert.match(await faulty('{ field: status, equals: a }'), /where\.field must be one of fullDocument\.x/);
  assert.match(
    await faulty('{ all: [{ operation: insert }, { field: fullDocument.a }] }'),
    /where\.all\[1\] needs exactly one of/,
  );
  assert.match(
    await faulty('{ not: { field: fullDocument.a, gt: true } }'),
    /where\.not\.gt must be something that comes before/,
  );
  assert.match(await faulty('{ field: fullDocument.a, equals: { b: 1 } }'), /must be a text, a number/);
  assert.match(await faulty('{ any: [] }'), /where\.any must be a list/);
});

test('a path that begins with a part of the event, or holds a star, would hide nothing: a fault', async () => {
  assert.match(await faultOf('mask: [{ fields: [fullDocument.ssn], with: x }]'), /inside the document: ssn, not/);
  assert.match(await faultOf('fields: { include: [updatedFields.a] }'), /inside the document: a, not/);
  assert.match(await faultOf("fields: { exclude: ['a.*'] }"), /a star stands for nothing here/);
});

test('a filter names operations that there are', async () => {
  const fault = await faultOf('where: { operation: inserts }, whenUnknown: skip');
  assert.match(fault, /names inserts; there are insert, update/);
});
