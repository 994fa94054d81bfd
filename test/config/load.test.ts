import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { autoWorkers } from '../../src/config/resolve.ts';
import { file, folder, load } from './fixtures.ts';

const ENV = { MONGODB_URI: 'mongodb://user:hunter2@h/?replicaSet=rs', AMQP_URI: 'amqp://h' };

const EXAMPLE = `
sources:
  shop:                                   # a name of the user's: it is in message ids, metrics and logs
    uri: \${MONGODB_URI}                   # a replica set; user and TLS options as in any MongoDB URI
    mode: oplog                           # oplog | changeStream
    start: latest
    onPositionLost: stop                  # stop | earliest | latest
sinks:
  rabbit:
    uri: \${AMQP_URI}
    declare: true
    window: 256                           # unconfirmed messages per lane
    heartbeat: 5s
    confirmTimeout: 30s
    maxMessageBytes: 16MiB
subscriptions:
  - name: orders
    source: shop                          # may be left out where there is one
    namespaces: ["shop.orders", "shop.order_*", "!shop.order_tmp*"]
    operations: [insert, update, replace, delete]      # the default; DDL only where asked for
    format: json
    batch: { maxEvents: 1, maxBytes: 64KiB, linger: 0ms }
    order: pipelined
    onUnroutable: hold                    # hold | park
    to:
      sink: rabbit                        # may be left out where there is one
      exchange: changes                   # durable, topic
      routingKey: "{db}.{coll}.{operationType}"
      queues:
        - { name: orders, type: quorum, bind: "shop.#", arguments: {} }
pipeline:
  workers: auto                           # threads
  partitions: 16
  partitionBy:
    - { namespaces: ["shop.events"], key: document }
  inFlight: 64MiB
checkpoint: { path: ./tailrace-data, interval: 500ms }
parked: { maxBytes: 1GiB }
http: { listen: 127.0.0.1:9464 }
shutdownTimeout: 10s
log: { level: info }
`;

const RESOLVED = {
  folder,
  management: 'file',
  sources: [{ name: 'shop', uri: ENV.MONGODB_URI, mode: 'oplog', start: { kind: 'latest' }, onPositionLost: 'stop' }],
  sinks: [
    {
      name: 'rabbit',
      uri: ENV.AMQP_URI,
      declare: true,
      lock: true,
      window: 256,
      connections: 4,
      heartbeatMs: 5_000,
      confirmTimeoutMs: 30_000,
      maxMessageBytes: 16 * 2 ** 20,
    },
  ],
  subscriptions: [
    {
      name: 'orders',
      source: 'shop',
      namespaces: ['shop.orders', 'shop.order_*', '!shop.order_tmp*'],
      operations: ['insert', 'update', 'replace', 'delete'],
      expanded: false,
      format: 'json',
      batch: { maxEvents: 1, maxBytes: 65_536, lingerMs: 0 },
      order: 'pipelined',
      transactions: false,
      onUnroutable: 'hold',
      to: {
        kind: 'exchange',
        sink: 'rabbit',
        exchange: 'changes',
        routingKey: '{db}.{coll}.{operationType}',
        queues: [{ name: 'orders', type: 'quorum', bind: 'shop.#', arguments: {} }],
      },
    },
  ],
  pipeline: {
    workers: autoWorkers(),
    partitions: 16,
    partitionBy: [{ namespaces: ['shop.events'], key: 'document' }],
    inFlightBytes: 64 * 2 ** 20,
    detachAfterMs: 30_000,
  },
  checkpoint: { path: join(folder, 'tailrace-data'), intervalMs: 500 },
  parked: { maxBytes: 2 ** 30 },
  http: { host: '127.0.0.1', port: 9464 },
  shutdownTimeoutMs: 10_000,
  log: { level: 'info' },
};

test('the documented example loads as it stands', async () => {
  assert.deepEqual(await load(EXAMPLE, ENV), RESOLVED);
});

test('what is left out has the documented default', async () => {
  const short = `
sources: { shop: { uri: "\${MONGODB_URI}" } }
sinks: { rabbit: { uri: "\${AMQP_URI}" } }
subscriptions:
  - name: orders
    namespaces: ["shop.orders", "shop.order_*", "!shop.order_tmp*"]
    to: { exchange: changes, queues: [{ name: orders, type: quorum, bind: "shop.#" }] }
pipeline: { partitionBy: [{ namespaces: ["shop.events"], key: document }] }
`;
  assert.deepEqual(await load(short, ENV), RESOLVED);
});

test("a heartbeat in a sink's URI goes before the setting", async () => {
  const [sink] = (await load(EXAMPLE, { ...ENV, AMQP_URI: 'amqp://h/?heartbeat=300' })).sinks;
  assert.equal(sink!.heartbeatMs, 300_000);
});

test('a queue is classic where nothing else is said, bound or reached directly', async () => {
  const config = await load(
    file([
      '{ name: a, namespaces: [a.*], to: { exchange: e, queues: [{ name: q }] } }',
      '{ name: b, namespaces: [b.*], to: { queue: r } }',
    ]),
  );
  assert.deepEqual(
    config.subscriptions.map(({ to }) => to),
    [
      {
        kind: 'exchange',
        sink: 'rabbit',
        exchange: 'e',
        routingKey: '{db}.{coll}.{operationType}',
        queues: [{ name: 'q', type: 'classic', bind: '#', arguments: {} }],
      },
      { kind: 'queue', sink: 'rabbit', queue: 'r', queueType: 'classic', queueArguments: {} },
    ],
  );
});

test('with several events a message, the routing key has no operation by default', async () => {
  const config = await load(file(['{ name: a, namespaces: [a.*], batch: { maxEvents: 200 }, to: { exchange: e } }']));
  const to = config.subscriptions[0]?.to;
  assert.equal(to?.kind === 'exchange' && to.routingKey, '{db}.{coll}');
});

test('a message of several events is never larger than the sink allows', async () => {
  const config = await load(
    file(['{ name: a, namespaces: [a.*], batch: { maxEvents: 9 }, to: { queue: q } }']).replace(
      'uri: "amqp://h"',
      'uri: "amqp://h", maxMessageBytes: 4KiB',
    ),
  );
  assert.equal(config.subscriptions[0]?.batch.maxBytes, 4_096);
});

test('standard output and files need no sink, and files are relative to the configuration', async () => {
  const config = await load(`
sources: { shop: { uri: "mongodb://h" } }
subscriptions:
  - { name: a, namespaces: ["a.*"], to: stdout }
  - { name: b, namespaces: ["b.*"], to: { file: out/changes.jsonl } }
`);
  assert.deepEqual(config.sinks, []);
  assert.deepEqual(
    config.subscriptions.map(({ to }) => to),
    [{ kind: 'stdout' }, { kind: 'file', path: join(folder, 'out/changes.jsonl') }],
  );
});

test('every way to say where HTTP listens is understood', async () => {
  const http = async (written: string) =>
    (await load(file(['{ name: a, namespaces: [a.b], to: stdout }'], `http: ${written}`))).http;
  assert.equal(await http('off'), undefined);
  assert.equal(await http('false'), undefined);
  assert.equal(await http('{ listen: off }'), undefined);
  assert.deepEqual(await http('{ listen: "0.0.0.0:0" }'), { host: '0.0.0.0', port: 0 });
  assert.deepEqual(await http('{ listen: "[::1]:9464" }'), { host: '::1', port: 9464 });
});

test('a start that is a date stays the text it was, quoted or not', async () => {
  for (const written of ['2026-11-22', '"2026-11-22"', '2026-11-22T00:00:00Z', '1795305600:0', '!!str 2026-11-22']) {
    const config = await load(
      file(['{ name: a, namespaces: [a.b], to: stdout }']).replace('{ uri:', `{ start: ${written}, uri:`),
    );
    const start = config.sources[0]?.start;
    assert.ok(start?.kind === 'from', written);
    assert.equal(start.ts.seconds, 1_795_305_600, written);
  }
});

test('DDL is understood where it is asked for, and an operation named twice counts once', async () => {
  const config = await load(
    file(['{ name: a, namespaces: [a.b], operations: [insert, drop, insert, rename], to: stdout }']),
  );
  assert.deepEqual(config.subscriptions[0]?.operations, ['insert', 'drop', 'rename']);
});

test('auto begins with one worker and goes up to the cores there are, and to 8 at most', () => {
  const ranges = [1, 2, 3, 64].map((cores) => autoWorkers(cores));
  assert.deepEqual(
    ranges.map(({ least, most }) => [least, most]),
    [
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 8],
    ],
  );
});

test('the file may be named relative to the working folder, and its own folder is what paths in it start from', async () => {
  await load(EXAMPLE, ENV);
  const config = await loadConfig(join(folder, '..', folder.split('/').at(-1) ?? '', '1.yaml'), ENV);
  assert.equal(config.checkpoint.path, join(folder, 'tailrace-data'));
});
