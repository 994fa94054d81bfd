/** The compose file cannot be run where there is no Docker: what it mounts exists, what it starts with is valid, its names meet. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { EngineFolder } from '../harness/engine-process.ts';
import { prometheusBinaries } from '../servers/prometheus-binary.ts';
import { run } from '../servers/run.ts';

const at = (path: string): string => fileURLToPath(new URL(`../../grafana/${path}`, import.meta.url));
const read = (path: string): unknown => parse(readFileSync(at(path), 'utf8'));

const service = z.strictObject({
  image: z
    .string()
    .regex(/:[\w.-]+$/)
    .optional(),
  build: z.strictObject({ context: z.string(), dockerfile_inline: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  working_dir: z.string().optional(),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/)).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  volumes: z.array(z.string()).optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_started']) }))
    .optional(),
  healthcheck: z
    .strictObject({ test: z.array(z.string()), interval: z.string(), timeout: z.string(), retries: z.int() })
    .optional(),
});
const compose = z
  .strictObject({
    name: z.string(),
    services: z.record(z.string(), service),
    volumes: z.record(z.string(), z.strictObject({})),
  })
  .parse(read('compose/compose.yaml'));

test('every service has what it is made of, waits for one that exists, and mounts what is there', () => {
  for (const [name, { image, build, depends_on = {}, volumes = [] }] of Object.entries(compose.services)) {
    assert.equal((image === undefined) !== (build === undefined), true, name);
    for (const [other, { condition }] of Object.entries(depends_on)) {
      assert.ok(compose.services[other], other);
      assert.equal(condition === 'service_healthy', compose.services[other].healthcheck !== undefined, other);
    }
    for (const volume of volumes) {
      const from = volume.split(':')[0]!;
      assert.ok(from.startsWith('.') ? existsSync(at(`compose/${from}`)) : compose.volumes[from], volume);
    }
    for (const [, from = ''] of build?.dockerfile_inline.matchAll(/^COPY (.+) \S+$/gm) ?? [])
      for (const path of from.split(' ')) assert.ok(existsSync(at(`../${path}`)), path);
  }
});

test('promtool takes its Prometheus configuration, which scrapes services that exist', async () => {
  const { promtool } = await prometheusBinaries();
  await run(promtool, ['check', 'config', '--syntax-only', at('compose/prometheus.yml')]);
  const { scrape_configs: jobs } = z
    .object({
      scrape_configs: z.array(z.object({ static_configs: z.array(z.object({ targets: z.array(z.string()) })) })),
    })
    .parse(read('compose/prometheus.yml'));
  const hosts = jobs
    .flatMap((job) => job.static_configs.flatMap(({ targets }) => targets))
    .map((it) => it.split(':')[0]!);
  assert.deepEqual(
    hosts.filter((host) => compose.services[host] === undefined),
    [],
  );
});

test('its engine takes its configuration', async () => {
  await using place = await EngineFolder.create(read('compose/tailrace.yaml') as object);
  const { stdout, stderr } = await place.command('checkpoint', 'show');
  assert.doesNotMatch(`${stdout}${stderr}`, /config-invalid/);
});

test('Grafana is provisioned with what the compose file mounts', () => {
  const { providers } = z
    .object({ providers: z.array(z.object({ type: z.literal('file'), options: z.object({ path: z.string() }) })) })
    .parse(read('provisioning/dashboards/tailrace.yaml'));
  const mounted = compose.services['grafana']?.volumes?.map((volume) => volume.split(':')[1]);
  for (const { options } of providers) assert.ok(mounted?.includes(options.path), options.path);
  const { datasources } = z
    .object({ datasources: z.array(z.object({ type: z.literal('prometheus'), url: z.url() })) })
    .parse(read('provisioning/datasources/prometheus.yaml'));
  for (const { url } of datasources) assert.ok(compose.services[new URL(url).hostname], url);
});
