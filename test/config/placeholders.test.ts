import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { faultsOf, file, folder, load } from './fixtures.ts';

const SUBSCRIPTION = '{ name: a, namespaces: [a.b], to: { queue: q } }';

test('variables and files are filled in, alone or inside a text', async () => {
  await writeFile(join(folder, 'password'), 'p4ss\n');
  const yaml = file([SUBSCRIPTION])
    .replace('"mongodb://h/?replicaSet=rs"', '"mongodb://${USER}:${file:password}@h"')
    .replace('"amqp://h"', '"${AMQP}"');
  const config = await load(yaml, { USER: 'root', AMQP: 'amqp://x' });
  assert.equal(config.sources[0]?.uri, 'mongodb://root:p4ss@h');
  assert.equal(config.sinks[0]?.uri, 'amqp://x');
});

test('numbers and truth values may come out of placeholders too', async () => {
  const yaml = file([SUBSCRIPTION], 'pipeline:\n  workers: ${WORKERS}').replace(
    '{ uri: "amqp://h"',
    '{ window: "${WINDOW}", declare: "${DECLARE}", uri: "amqp://h"',
  );
  const config = await load(yaml, { WINDOW: '7', DECLARE: 'false', WORKERS: '3' });
  assert.equal(config.sinks[0]?.window, 7);
  assert.equal(config.sinks[0]?.declare, false);
  assert.deepEqual(config.pipeline.workers, { least: 3, most: 3 });
  const faults = await faultsOf(yaml, { WINDOW: '0', DECLARE: 'no', WORKERS: 'lots' });
  assert.deepEqual(
    faults.map((fault) => fault.replace(/ \(.*?\)/, '')),
    [
      'sinks.rabbit.window: found (hidden); expected a whole number from 1 to 10000',
      'sinks.rabbit.declare: found (hidden); expected true or false',
      'pipeline.workers: found (hidden); expected auto, or a whole number from 1 to 64',
    ],
  );
});

test('what was filled in is not looked through again', async () => {
  const yaml = file(['{ name: a, namespaces: [a.b], to: { file: "${NAME}" } }']);
  const [subscription] = (await load(yaml, { NAME: '${OTHER}' })).subscriptions;
  assert.deepEqual(subscription?.to, { kind: 'file', path: join(folder, '${OTHER}') });
});

test('what cannot be filled in is one fault with its place, and no second one', async () => {
  const yaml = file([
    SUBSCRIPTION,
    '{ name: "${NAME}", source: "${SOURCE}", namespaces: [c.d], to: { queue: "${file:nowhere}" } }',
  ])
    .replace('"amqp://h"', '"amqp://${1x}"')
    .replace('"mongodb://h/?replicaSet=rs"', '"mongodb://${OPEN"');
  const faults = await faultsOf(yaml, { SOURCE: undefined });
  assert.equal(faults.length, 5, faults.join('\n'));
  assert.match(faults[0] ?? '', /^sources\.shop\.uri \(1:20\): .*closing brace/);
  assert.match(faults[1] ?? '', /^sinks\.rabbit\.uri .*a placeholder is \$\{NAME\}/);
  assert.match(faults[2] ?? '', /^subscriptions\[1\]\.name .*variable NAME is not set/);
  assert.match(faults[3] ?? '', /^subscriptions\[1\]\.source .*variable SOURCE is not set/);
  assert.match(faults[4] ?? '', /^subscriptions\[1\]\.to\.queue .*nowhere cannot be read \(ENOENT\)/);
});

const SECRET = 'S3cret';

/** Each place that holds a text, with the secret in it. */
const PLACES: readonly string[] = [
  'sources: { s: { uri: "SECRET" } }',
  'sources: { s: { uri: "x", mode: "SECRET", start: "SECRET", onPositionLost: "SECRET" } }',
  'sources: "SECRET"',
  'sinks: { r: { uri: "SECRET", window: "SECRET", declare: "SECRET", heartbeat: "SECRET", maxMessageBytes: "SECRET" } }',
  'subscriptions: ["SECRET"]',
  'subscriptions: [{ name: "SECRET:", source: "SECRET", namespaces: ["SECRET", "!SECRET"], operations: ["SECRET"] }]',
  'subscriptions: [{ to: { sink: "SECRET", exchange: "{SECRET}", routingKey: "{SECRET}" } }]',
  'subscriptions: [{ to: { queue: "{SECRET}", queueType: "SECRET", queueArguments: "SECRET" } }]',
  'subscriptions: [{ name: "SECRET", namespaces: ["SECRET.a"], to: { file: "SECRET" } }, { name: "SECRET", namespaces: ["SECRET.*"], to: { file: "SECRET" } }]',
  'subscriptions: [{ to: "SECRET", batch: "SECRET", order: "SECRET", format: "SECRET" }]',
  'pipeline: { workers: "SECRET", partitionBy: [{ namespaces: ["SECRET"], key: "SECRET" }], inFlight: "SECRET" }',
  'http: { listen: "SECRET" }\nlog: { level: "SECRET" }\ncheckpoint: { interval: "SECRET" }\nshutdownTimeout: "SECRET"',
];

test('no report holds a value that came out of a variable or a file, wherever it stood', async () => {
  await writeFile(join(folder, 'secret'), SECRET);
  for (const place of PLACES) {
    for (const [placeholder, env] of [
      ['${SECRET_VALUE}', { SECRET_VALUE: SECRET }],
      ['x${SECRET_VALUE}y', { SECRET_VALUE: `{${SECRET}}` }],
      ['${file:secret}', {}],
    ] as const) {
      const faults = await faultsOf(place.replaceAll('SECRET', placeholder), env);
      assert.ok(faults.length > 0);
      assert.doesNotMatch(faults.join('\n'), new RegExp(SECRET), place);
    }
  }
});

test('no report holds a URI that slipped to another place, nor the password in a misplaced line', async () => {
  const uri = `mongodb://root:${SECRET}@h`;
  for (const place of PLACES) {
    const faults = await faultsOf(place.replaceAll('SECRET', uri));
    assert.doesNotMatch(faults.join('\n'), new RegExp(SECRET), place);
  }
  for (const yaml of [
    `"${uri}": {}`,
    `sources: { "${uri}": {} }`,
    `uri: ${uri}`,
    `- ${uri}`,
    `sources:\n  ${uri}\n  uri: "${uri}`,
  ]) {
    const faults = await faultsOf(yaml);
    assert.ok(faults.length > 0);
    assert.doesNotMatch(faults.join('\n'), new RegExp(SECRET), yaml);
  }
});

test('whatever stands where a URI belongs is hidden', async () => {
  const faults = await faultsOf(
    `sources: { s: { uri: ${SECRET} } }\nsinks: { r: { uri: ${SECRET} } }\nsubscriptions: [{ uri: ${SECRET} }]`,
  );
  assert.doesNotMatch(faults.join('\n'), new RegExp(SECRET));
});

test('no report holds a secret, however the file around it is broken', async () => {
  const yaml = [
    `sources: { s: { uri: "mongodb://root:${SECRET}@h" } }`,
    'sinks: { r: { uri: "amqp://h" } }',
    `subscriptions: [${SUBSCRIPTION}]`,
  ].join('\n');
  await fc.assert(
    fc.asyncProperty(
      fc.nat(yaml.length),
      fc.constantFrom('', '"', "'", '{', '}', ':', ': ', '\n', '\n\t', '*', '!', '&', '- ', '# ', '@', '%', '\\q'),
      fc.nat(3),
      async (at, put, cut) => {
        // A cut inside the URI may leave a text that nobody can know to be a secret.
        const from = yaml.indexOf('mongodb');
        if (at + cut > from && at < yaml.indexOf('@h')) return;
        const broken = yaml.slice(0, at) + put + yaml.slice(at + cut);
        assert.doesNotMatch((await faultsOf(broken)).join('\n'), new RegExp(SECRET), broken);
      },
    ),
    { numRuns: 500 },
  );
});
