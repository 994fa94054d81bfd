import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { faultsOf, file, folder, load } from './fixtures.ts';

/** A subscription that is fine, with something changed in it. */
function subscription(changed: string, { name = 'a', namespaces = '[a.b]', to = '{ queue: q }' } = {}): string {
  return `{ name: ${name}, namespaces: ${namespaces}, to: ${to}${changed === '' ? '' : `, ${changed}`} }`;
}

async function assertOneFault(yaml: string, expected: RegExp): Promise<void> {
  const faults = await faultsOf(yaml);
  assert.equal(faults.length, 1, faults.join('\n') || 'there is no fault');
  assert.match(faults[0] ?? '', expected);
}

const ONE_FAULT_EACH: readonly (readonly [string, string, RegExp])[] = [
  [
    'a broker password that is not percent-encoded',
    file([subscription('')], '').replace(/amqp:\/\/[^"'\s}]*/, 'amqp://guest:SeC/rE@t1@host'),
    /^sinks\.\w+\.uri .*percent-encoded/,
  ],
  [
    'a number out of range',
    file([subscription('batch: { maxEvents: 0 }')]),
    /^subscriptions\[0\]\.batch\.maxEvents \(4:\d+\): found 0; expected a whole number from 1/,
  ],
  [
    'a number that is none',
    file([subscription('')], 'pipeline: { partitions: many }'),
    /^pipeline\.partitions \(5:13\): found "many"; expected a whole number from 1 to 1024/,
  ],
  ['too many partitions', file([subscription('')], 'pipeline: { partitions: 1025 }'), /^pipeline\.partitions .*1025/],
  ['no workers', file([subscription('')], 'pipeline: { workers: 0 }'), /^pipeline\.workers .*auto, or a whole number/],
  [
    'a time without its unit',
    file([subscription('')], 'shutdownTimeout: 10'),
    /^shutdownTimeout \(5:1\): found 10; expected a time.*needs its unit/,
  ],
  [
    'a size with a strange unit',
    file([subscription('')], 'parked: { maxBytes: 1G }'),
    /^parked\.maxBytes .*found "1G"; expected a size.*GiB/,
  ],
  [
    'a word that is not one of a list',
    file([subscription('order: stric')]),
    /^subscriptions\[0\]\.order .*found "stric"; expected one of pipelined, strict/,
  ],
  [
    'an unknown key, with its neighbour',
    file([subscription('formt: json')]),
    /^subscriptions\[0\]\.formt \(4:\d+\): .*did you mean format\?/,
  ],
  [
    'an unknown key without a neighbour',
    file([subscription('urgent: true')]),
    /^subscriptions\[0\]\.urgent .*known here: name, source/,
  ],
  [
    'an unknown section',
    file([subscription('')], 'snapshots: {}'),
    /^snapshots \(5:1\): found an unknown key "snapshots"/,
  ],
  [
    'an unknown operation',
    file([subscription('operations: [insert, upsert]')]),
    /^subscriptions\[0\]\.operations\[1\] .*"upsert"/,
  ],
  ['no operations', file([subscription('operations: []')]), /^subscriptions\[0\]\.operations .*at least one operation/],
  [
    'a name with a colon',
    file([subscription('', { name: '"a:b"' })]),
    /^subscriptions\[0\]\.name .*letters, digits, _ and -/,
  ],
  ['an empty name', file([subscription('', { name: '""' })]), /^subscriptions\[0\]\.name /],
  [
    'a source whose name is no name',
    file([subscription('')]).replace('shop:', '"sh:op":'),
    /^sources\["sh:op"\] \(1:\d+\): .*letters, digits/,
  ],
  [
    'an unknown source',
    file([subscription('source: shpo')]),
    /^subscriptions\[0\]\.source .*found "shpo"; .*did you mean shop/,
  ],
  [
    'an unknown sink',
    file([subscription('', { to: '{ queue: q, sink: rabit }' })]),
    /^subscriptions\[0\]\.to\.sink .*did you mean rabbit/,
  ],
  [
    'a start that is none',
    file([subscription('')]).replace('{ uri: "mongodb', '{ start: yesterday, uri: "mongodb'),
    /^sources\.shop\.start .*found "yesterday"; expected latest/,
  ],
  [
    'a change stream from the earliest on',
    file([subscription('')]).replace('{ uri: "mongodb', '{ mode: changeStream, start: earliest, uri: "mongodb'),
    /^sources\.shop\.start .*expected latest or a date, because a change stream cannot be asked/,
  ],
  [
    'a change stream that goes on at the earliest',
    file([subscription('')]).replace(
      '{ uri: "mongodb',
      '{ mode: changeStream, onPositionLost: earliest, uri: "mongodb',
    ),
    /^sources\.shop\.onPositionLost .*expected stop or latest, because/,
  ],
  [
    'a change stream that is to be filtered like an oplog',
    file([subscription('')]).replace('{ uri: "mongodb', '{ mode: changeStream, serverFilter: on, uri: "mongodb'),
    /^sources\.shop\.serverFilter .*expected off: it is for mode: oplog/,
  ],
  [
    'what a change stream watches, for the oplog',
    file([subscription('')]).replace('{ uri: "mongodb', '{ changeStream: { watch: shop }, uri: "mongodb'),
    /^sources\.shop\.changeStream .*only with mode: changeStream/,
  ],
  [
    'a change stream of what is no namespace',
    file([subscription('')]).replace(
      '{ uri: "mongodb',
      '{ mode: changeStream, changeStream: { watch: ".x" }, uri: "mongodb',
    ),
    /^sources\.shop\.changeStream\.watch .*expected deployment, the name of a database/,
  ],
  [
    'a URI of another kind',
    file([subscription('')]).replace('mongodb://', 'http://'),
    /^sources\.shop\.uri .*found \(hidden\); expected a URI that begins with mongodb:\/\//,
  ],
  [
    'a source without a URI',
    file([subscription('')]).replace(/uri: "mongodb[^"]*"/, ''),
    /^sources\.shop\.uri \(1:12\): found nothing/,
  ],
  [
    'a pattern without a dot',
    file([subscription('', { namespaces: '[shop]' })]),
    /^subscriptions\[0\]\.namespaces\[0\] .*"db\.\*"/,
  ],
  [
    'patterns that only exclude',
    file([subscription('', { namespaces: '["!a.b"]' })]),
    /^subscriptions\[0\]\.namespaces .*only exclude/,
  ],
  [
    'no patterns',
    file([subscription('', { namespaces: '[]' })]),
    /^subscriptions\[0\]\.namespaces .*at least one pattern/,
  ],
  ['time-series collections', file([subscription('', { namespaces: '["a.system.buckets.*"]' })]), /time-series/],
  [
    'a pattern of partitionBy',
    file([subscription('')], 'pipeline: { partitionBy: [{ namespaces: [a], key: document }] }'),
    /^pipeline\.partitionBy\[0\]\.namespaces\[0\]/,
  ],
  [
    'an unknown name in a routing key',
    file([subscription('', { to: '{ exchange: e, routingKey: "{db}.{colll}" }' })]),
    /^subscriptions\[0\]\.to\.routingKey .*\{documentKey\.x\}.*there is no \{colll\}/,
  ],
  [
    'a lonely brace',
    file([subscription('', { to: '{ queue: "q{" }' })]),
    /^subscriptions\[0\]\.to\.queue .*lacks its partner/,
  ],
  [
    'a routing key too long by itself',
    file([subscription('', { to: `{ exchange: e, routingKey: "{db}${'é'.repeat(128)}" }` })]),
    /^subscriptions\[0\]\.to\.routingKey .*255 bytes.*it has 256/,
  ],
  [
    'a template as an exchange',
    file([subscription('', { to: '{ exchange: "{db}" }' })]),
    /^subscriptions\[0\]\.to\.exchange .*no \{…\} here/,
  ],
  [
    'two destinations',
    file([subscription('', { to: '{ queue: q, exchange: e }' })]),
    /^subscriptions\[0\]\.to .*exchange and queue; expected only one/,
  ],
  [
    'no destination',
    file([subscription('', { to: '{ sink: rabbit }' })]),
    /^subscriptions\[0\]\.to .*one of exchange, queue, file, stdout/,
  ],
  [
    'a destination of another kind',
    file([subscription('', { to: 'kafka' })]),
    /^subscriptions\[0\]\.to .*found "kafka"; expected a mapping with exchange/,
  ],
  [
    'a setting of another destination',
    file([subscription('', { to: '{ queue: q, routingKey: k }' })]),
    /^subscriptions\[0\]\.to\.routingKey .*only together with exchange/,
  ],
  [
    'a queue type in the arguments',
    file([subscription('', { to: '{ queue: q, queueArguments: { x-queue-type: quorum } }' })]),
    /^subscriptions\[0\]\.to\.queueArguments .*setting of its own/,
  ],
  [
    'BSON as lines',
    file([subscription('format: bson', { to: 'stdout' })]),
    /^subscriptions\[0\]\.format .*found "bson"; expected json/,
  ],
  [
    'messages larger than the sink takes',
    file([subscription('batch: { maxEvents: 2, maxBytes: 32MiB }')]),
    /^subscriptions\[0\]\.batch\.maxBytes .*maxMessageBytes/,
  ],
  [
    'a port without its host',
    file([subscription('')], 'http: { listen: 9464 }'),
    /^http\.listen .*found 9464; expected "host:port"/,
  ],
  ['a port out of range', file([subscription('')], 'http: { listen: "h:70000" }'), /^http\.listen /],
  [
    'no subscriptions',
    file([]).replace('subscriptions:', 'subscriptions: []'),
    /^subscriptions .*at least one subscription/,
  ],
  [
    'a name used twice',
    file([subscription(''), subscription('', { namespaces: '[a.c]' })]),
    /^subscriptions\[1\]\.name \(5:\d+\): found "a"; .*subscriptions\[0\] has it/,
  ],
  ['a null section', file([subscription('')], 'log:'), /^log .*found nothing \(an empty value\); expected a mapping/],
];

for (const [what, yaml, expected] of ONE_FAULT_EACH) {
  test(`one fault, and its place: ${what}`, () => assertOneFault(yaml, expected));
}

test('a heartbeat in the URI of a sink that would be none, or none that can be waited for, is a fault without the URI', async () => {
  for (const heartbeat of ['0', 'x', '1.5', '-5', '3601', '', '5&heartbeat=6']) {
    const faults = await faultsOf(
      file([subscription('')]).replace('amqp://h', `amqp://u:hunter2@h/?heartbeat=${heartbeat}`),
    );
    assert.equal(faults.length, 1, `${heartbeat}: ${faults.join('\n')}`);
    assert.match(faults[0]!, /^sinks\.\w+\.uri .*heartbeat.*1 to 3600/);
    assert.doesNotMatch(faults[0]!, /hunter2/);
  }
});

test('all faults are in one report, in the order of the file', async () => {
  const faults = await faultsOf(`
sources:
  shop: { uri: "mongodb://h", start: yesterday }
sinks:
  rabbit: { uri: "amqp://h", window: 0, heartbeat: 5 }
subscriptions:
  - name: "a:b"
    source: shp
    namespaces: [shop]
    operations: [upsert]
    batch: { maxEvents: many }
    to: { exchange: e, routingKey: "{nope}", sink: rabit }
  - { name: b, namespaces: ["x.*"], to: { queue: q } }
  - { name: c, namespaces: ["x.y"], to: { queue: q }, formt: json }
pipeline: { partitions: 0 }
`);
  assert.deepEqual(
    faults.map((fault) => fault.split(' ', 1)[0]),
    [
      'sources.shop.start',
      'sinks.rabbit.window',
      'sinks.rabbit.heartbeat',
      'subscriptions[0].name',
      'subscriptions[0].source',
      'subscriptions[0].namespaces[0]',
      'subscriptions[0].operations[0]',
      'subscriptions[0].batch.maxEvents',
      'subscriptions[0].to.routingKey',
      'subscriptions[0].to.sink',
      'subscriptions[2].namespaces',
      'subscriptions[2].formt',
      'pipeline.partitions',
    ],
  );
});

test('with several sources or sinks a subscription has to name its own', async () => {
  const faults = await faultsOf(`
sources: { eu: { uri: "mongodb://h" }, us: { uri: "mongodb://h" } }
sinks: { one: { uri: "amqp://h" }, two: { uri: "amqp://h" } }
subscriptions: [{ name: a, namespaces: ["a.b"], to: { queue: q } }]
`);
  assert.equal(faults.length, 2, faults.join('\n'));
  assert.match(faults[0] ?? '', /^subscriptions\[0\]\.source .*found nothing; .*several: eu, us/);
  assert.match(faults[1] ?? '', /^subscriptions\[0\]\.to\.sink .*several: one, two/);
});

test('a destination in RabbitMQ needs a sink', async () => {
  const yaml =
    'sources: { s: { uri: "mongodb://h" } }\nsubscriptions: [{ name: a, namespaces: [a.b], to: { queue: q } }]';
  await assertOneFault(yaml, /^subscriptions\[0\]\.to\.sink .*none is defined under sinks/);
});

const OVERLAP = /^subscriptions\[1\]\.namespaces .*subscriptions\[0\].*allowOverlap/;

test('two subscriptions with the same destination and overlapping namespaces are a fault', async () => {
  for (const to of ['{ exchange: e }', '{ queue: q }', '{ queue: "q.{partition}" }', 'stdout', '{ file: f }']) {
    const pair = [
      subscription('', { to, namespaces: '["a.*"]' }),
      subscription('', { name: 'b', to, namespaces: '["*.x"]' }),
    ];
    await assertOneFault(file(pair), OVERLAP);
  }
  const paths = [subscription('', { to: '{ file: f }' }), subscription('', { name: 'b', to: '{ file: ./x/../f }' })];
  await assertOneFault(file(paths), OVERLAP);
});

test('an overlap is no fault where one of the two allows it, or where they cannot meet', async () => {
  const fine = [
    ['allowOverlap on one', subscription('allowOverlap: true'), subscription('', { name: 'b' })],
    ['other namespaces', subscription(''), subscription('', { name: 'b', namespaces: '[a.c]' })],
    ['another queue', subscription(''), subscription('', { name: 'b', to: '{ queue: r }' })],
    [
      'another exchange',
      subscription('', { to: '{ exchange: e }' }),
      subscription('', { name: 'b', to: '{ exchange: f }' }),
    ],
    ['another kind', subscription('', { to: '{ exchange: q }' }), subscription('', { name: 'b' })],
    [
      'routing keys that never agree',
      subscription('', { to: '{ exchange: e, routingKey: "x.{db}" }' }),
      subscription('', { name: 'b', to: '{ exchange: e, routingKey: "y.{db}" }' }),
    ],
    [
      "the subscription's name in the queue's",
      subscription('', { to: '{ queue: "{subscription}" }' }),
      subscription('', { name: 'b', to: '{ queue: "{subscription}" }' }),
    ],
  ] as const;
  for (const [what, ...pair] of fine) assert.deepEqual(await faultsOf(file(pair)), [], what);
});

test("other sources' changes are other changes: the same namespaces are no overlap", async () => {
  const faults = await faultsOf(`
sources: { eu: { uri: "mongodb://h" }, us: { uri: "mongodb://h" } }
subscriptions:
  - { name: a, source: eu, namespaces: ["a.b"], to: stdout }
  - { name: b, source: us, namespaces: ["a.b"], to: stdout }
`);
  assert.deepEqual(faults, []);
});

test('one queue declared in two ways is a fault, through templates too', async () => {
  const exchange = subscription('', { to: '{ exchange: e, queues: [{ name: q.3, type: quorum }] }' });
  const conflict = /^subscriptions\[1\]\.to\.queue .*the same queue as subscriptions\[0\]\.to\.queues\[0\]/;
  for (const queue of ['q.3', 'q.{partition}']) {
    await assertOneFault(file([exchange, subscription('', { name: 'b', to: `{ queue: "${queue}" }` })]), conflict);
  }
  const same = subscription('', { name: 'b', to: '{ queue: q.3, queueType: quorum }' });
  assert.deepEqual(await faultsOf(file([exchange, same])), []);
  const beyond = subscription('', { name: 'b', to: '{ queue: "q.{partition}" }' });
  assert.deepEqual(await faultsOf(file([exchange, beyond], 'pipeline: { partitions: 3 }')), []);
});

test('text that is no YAML is reported with its lines, and none of it is quoted', async () => {
  const faults = await faultsOf('a: [*, !x]\nuri: "hunter2\n');
  assert.equal(faults.length, 3, faults.join('\n'));
  assert.match(faults[0] ?? '', /^\(1:5\): .*needs quotes, as in "\*\.orders"/);
  assert.match(faults[1] ?? '', /^\(1:8\): .*"!shop\.tmp_\*"/);
  assert.match(faults.at(-1) ?? '', /^\(3:1\): .*closing quote/);
  assert.doesNotMatch(faults.join('\n'), /hunter2/);
});

test('a brace or bracket that is not closed is named where it is opened, not where that was noticed', async () => {
  for (const [text, place, bracket] of [
    ['sources:\n  shop: { uri: hunter2\nsinks:\n  mq: { uri: y }\n', '2:9', '`}` for the `{` .* before line 3'],
    ['sources: {}\nsubscriptions:\n  - { name: a, to: { queue: q }\n  - { name: b }\n', '3:5', '`}` .* before line 4'],
    ['namespaces:\n  [a, b\nformat: json\n', '2:3', '`]` for the `[` .* before line 3'],
  ] as const) {
    const faults = await faultsOf(text);
    assert.equal(faults.length, 1, faults.join('\n'));
    assert.ok(faults[0]!.startsWith(`(${place}): expected a `) || faults[0]!.startsWith(`(${place}): `), faults[0]);
    assert.match(faults[0]!, new RegExp(bracket.replaceAll(/[[\]{}]/g, String.raw`\$&`)));
    assert.doesNotMatch(faults[0]!, /hunter2/);
  }
});

test('behind what the parser cannot make sense of, nothing is reported', async () => {
  const yaml = file([subscription('')]).replace('"mongodb://h/?replicaSet=rs"', '${MONGODB_URI}');
  await assertOneFault(yaml, /^\(1:26\): .*needs quotes \(`\$\{NAME\}` does, inside/);
});

test('a key that is there twice is a fault', async () => {
  await assertOneFault('sinks: {}\nlog: {}\nsinks: {}\n', /^\(3:1\): the key "sinks" is there twice/);
});

test('a file that is empty, a list or runs in circles is one fault', async () => {
  await assertOneFault('', /found an empty file; expected a mapping with sources, sinks and subscriptions/);
  await assertOneFault('- a', /found no mapping/);
  await assertOneFault('sources: &a [*a]', /aliases that contain themselves/);
  await assertOneFault('log: {}\n---\nlog: {}', /several/);
});

test('a file that cannot be read is named, with the option that names another', async () => {
  await assert.rejects(loadConfig(join(folder, 'none.yaml'), {}), {
    code: 'config-invalid',
    message: `there is no configuration file ${join(folder, 'none.yaml')}; name one with -c FILE, or write a first one with \`tailrace init\``,
  });
  await assert.rejects(loadConfig(folder, {}), { code: 'config-invalid', message: /cannot be read \(EISDIR\)/ });
});

test('the report says how many faults there are, and in which file', async () => {
  await assert.rejects(
    load(file([subscription('')], 'log: { level: loud }')),
    /^UserError: .*\.yaml has a fault; nothing was started:\n {2}log\.level/,
  );
  await assert.rejects(load(file([subscription('order: x')], 'log: { level: loud }')), /has 2 faults/);
});

test("a sink's TLS settings are a fault where nothing is encrypted, or where half of a pair is missing", async () => {
  const fileWith = (sink: string): string =>
    [
      'sources: { a: { uri: "mongodb://h/?replicaSet=r" } }',
      `sinks: { mq: ${sink} }`,
      'subscriptions: [{ name: s, namespaces: ["*"], to: { queue: q } }]',
    ].join('\n');
  for (const [sink, expected] of [
    ['{ uri: "amqp://h", tls: { ca: ca.pem } }', /sinks\.mq\.tls .*found together with an amqp:\/\/ URI/],
    ['{ uri: "amqps://h", tls: { cert: c.pem } }', /sinks\.mq\.tls\.key .*the certificate's key/],
    ['{ uri: "amqps://h", tls: { key: c.pem } }', /sinks\.mq\.tls\.cert .*the key's certificate/],
    ['{ uri: "amqps://h", tls: { login: certificate } }', /sinks\.mq\.tls\.cert .*because of `login: certificate`/],
  ] as const) {
    await assertOneFault(fileWith(sink), expected);
  }
});

test('a passphrase that is no text is not shown', async () => {
  const sink = '{ uri: "amqps://h", tls: { passphrase: 12345678 } }';
  const faults = await faultsOf(file([subscription('')]).replace('{ uri: "amqp://h" }', sink));
  assert.deepEqual(faults.length, 1);
  assert.doesNotMatch(faults[0]!, /1234/);
});

test('images: local says what goes with it', async () => {
  const stream = 'sources: { a: { uri: "mongodb://h/?replicaSet=r", mode: changeStream } }';
  const whole = file([subscription('images: local, fullDocument: whenAvailable')]);
  assert.deepEqual((await load(whole)).subscriptions[0]!.images, {
    after: 'whenAvailable',
    before: 'off',
    local: { maxBytes: 10 * 2 ** 30 },
  });
  await assertOneFault(file([subscription('images: local')]), /images .*server, or `fullDocument: whenAvailable`/);
  for (const [settings, expected] of [
    ['fullDocument: required', /fullDocument .*whenAvailable or default, because `images: local` leaves out/],
    ['fullDocument: updateLookup', /fullDocument .*whenAvailable or default/],
    ['fullDocumentBeforeChange: required', /fullDocumentBeforeChange .*whenAvailable or off/],
    ['fullDocument: whenAvailable, localImages: { maxSize: 1KiB }', /localImages\.maxSize/],
  ] as const) {
    await assertOneFault(file([subscription(`images: local, ${settings}`)]), expected);
  }
  const faults = await faultsOf(whole.replace(/^sources: .*$/m, stream));
  assert.ok(
    faults.some((fault) => /images .*`mode: oplog`/.test(fault)),
    faults.join('\n'),
  );
});
