/** A real Prometheus scrapes a running engine and its broker: what a dashboard or a rule asks for has an answer. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import { parse } from 'yaml';
import { dashboards } from '../../grafana/src/dashboards.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { onBroker } from '../harness/on-broker.ts';
import { Traffic } from '../harness/traffic.ts';
import { untilReading } from '../harness/waiting.ts';
import { startRabbit } from '../servers/index.ts';
import { freePort } from '../servers/ports.ts';
import { startPrometheus } from '../servers/prometheus.ts';
import { sharedMongo } from '../servers/with-servers.ts';

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
}

const RULES = fileURLToPath(new URL('../../grafana/rules.yaml', import.meta.url));
const rules = (parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);

/** As Grafana would ask, with everything chosen. */
const panelQueries = [...dashboards()].flatMap(([file, json]) =>
  (JSON.parse(json) as { panels: { title: string; targets?: { expr: string }[] }[] }).panels.flatMap((panel) =>
    (panel.targets ?? []).map(({ expr }) => ({
      what: `${file}, ${panel.title}`,
      query: expr.replaceAll('$__rate_interval', '5s').replaceAll(/\$(?:instance|source|subscription|node)\b/g, '.*'),
    })),
  ),
);

/** An alert is silent when all is well: what must have data is each series that it looks at. */
const ruleQueries = rules.flatMap(({ record, alert, expr }) =>
  record === undefined
    ? [...expr.matchAll(/\b(?:tailrace|process)_\w+(?:\{[^}]*\})?/g)].map(([query]) => ({ what: alert!, query }))
    : [
        { what: record, query: record },
        { what: record, query: expr },
      ],
);

test('every expression of the dashboards and the rules has data from an engine under load', async (t) => {
  const db = 'observed';
  await using mongo = await sharedMongo();
  const scrape = await freePort();
  const rabbit = await startRabbit({
    plugins: ['rabbitmq_prometheus'],
    extraConfig: `prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = ${scrape}`,
  });
  t.after(async () => rabbit.stop());
  await onBroker(rabbit.uri, async (channel) => {
    await channel.assertExchange('nowhere', 'topic', { durable: true });
  });
  await using client = await MongoClient.connect(mongo.uri);
  await client
    .db(db)
    .collection('before')
    .insertMany(Array.from({ length: 1_000 }, (_, n) => ({ n })));
  await using place = await EngineFolder.create({
    // A snapshot that goes on for as long as this does.
    sources: { src: { uri: mongo.uri, start: 'snapshot', snapshot: { maxRate: 2 } } },
    sinks: { mq: { uri: rabbit.uri } },
    subscriptions: [
      {
        name: 'kept',
        namespaces: [`${db}.*`],
        to: { sink: 'mq', exchange: 'kept', queues: [{ name: 'kept', bind: '#' }] },
      },
      {
        name: 'states',
        namespaces: [`${db}.c1`],
        fullDocument: 'whenAvailable',
        images: 'local',
        to: { sink: 'mq', queue: 'states' },
      },
      // Held from its first message on: what is there in trouble only has data too.
      { name: 'held', namespaces: [`${db}.c0`], to: { sink: 'mq', exchange: 'nowhere' } },
    ],
    pipeline: { partitions: 4 },
  });
  const engine = place.start();
  await untilReading(engine);
  await using traffic = new Traffic({ uri: mongo.uri, db, eventsPerSecond: 500 });
  assert.ok(traffic);
  await using prometheus = await startPrometheus({
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [RULES],
    scrape_configs: [
      { job_name: 'tailrace', static_configs: [{ targets: [new URL(await engine.url()).host] }] },
      { job_name: 'rabbitmq', static_configs: [{ targets: [`127.0.0.1:${scrape}`] }] },
    ],
  });

  const began = performance.now();
  let missing = [...panelQueries, ...ruleQueries];
  assert.ok(panelQueries.length > 40 && ruleQueries.length > 20);
  await until(
    'everything has data',
    async () => {
      const left: typeof missing = [];
      for (const one of missing) {
        const { result } = (await prometheus.ask('query', { query: one.query })) as {
          result: { value: [number, string] }[];
        };
        if (!result.some(({ value }) => value[1] !== 'NaN')) left.push(one);
      }
      missing = left;
      return missing.length === 0;
    },
    60_000,
  ).catch(() => {});
  assert.deepEqual(missing, []);
  t.diagnostic(
    `${panelQueries.length} panel and ${ruleQueries.length} rule queries in ${Math.round(performance.now() - began)} ms`,
  );

  const { groups } = (await prometheus.ask('rules')) as { groups: { rules: { name: string; health: string }[] }[] };
  const health = groups.flatMap((group) => group.rules).map((rule) => `${rule.name} ${rule.health}`);
  assert.deepEqual(
    health.filter((line) => !line.endsWith(' ok')),
    [],
  );
  assert.equal(health.length, rules.length);
  await client.db(db).dropDatabase();
});
