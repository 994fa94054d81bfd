/** The dashboard and the alerts speak of metrics by name: a renamed metric or label would leave them silently empty. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { dashboards } from '../../grafana/src/dashboards.ts';
import { METRICS } from '../../src/observe/metric-list.ts';
import type { MetricSpec } from '../../src/observe/metric-list.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import { sampleStatus } from './sample-status.ts';

const target = z.object({ expr: z.string(), legendFormat: z.string().default('') });
const panel = z.object({
  id: z.number(),
  type: z.string(),
  title: z.string(),
  description: z.string().default(''),
  targets: z.array(target).default([]),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
});
const variable = z.object({ name: z.string(), type: z.string(), definition: z.string().default('') });
const written = dashboards();
const boards = [...written.keys()].map((file) =>
  z
    .object({ uid: z.string(), templating: z.object({ list: z.array(variable) }), panels: z.array(panel) })
    .parse(JSON.parse(read(`dashboards/${file}`))),
);

const rule = z.object({
  alert: z.string(),
  expr: z.string(),
  labels: z.object({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.object({ summary: z.string(), description: z.string() }),
});
const rules = z
  .object({ groups: z.array(z.object({ rules: z.array(z.union([rule, z.object({ record: z.string() })])) })) })
  .parse(parse(read('rules.yaml')))
  .groups.flatMap((group) => group.rules)
  .filter((one) => 'alert' in one);

const charts = boards.flatMap(({ panels }) => panels).filter(({ type }) => type !== 'row');
const specs = new Map<string, MetricSpec>(Object.values(METRICS).map((spec) => [spec.name, spec]));

/** Given by Prometheus to every series, or by Node's own metrics. */
const FOREIGN_LABELS = ['instance', 'job', 'kind'];

function read(file: string): string {
  return readFileSync(new URL(`../../grafana/${file}`, import.meta.url), 'utf8');
}

interface Use {
  readonly metric: string;
  /** Labels that its selector names. */
  readonly labels: readonly string[];
}

function usesOf(expr: string): Use[] {
  return [...expr.matchAll(/\b((?:tailrace|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, name = '', selector = '']) => ({
      metric: name,
      labels: [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label),
    }),
  );
}

/** The spec behind a series' name: a histogram is `_bucket`, `_sum` and `_count`, and never its bare name. */
function specOf(series: string): MetricSpec | undefined {
  const base = series.replace(/_(bucket|sum|count)$/, '');
  const histogram = specs.get(base);
  if (base !== series && histogram?.type === 'histogram') return histogram;
  const spec = specs.get(series);
  return spec?.type === 'histogram' ? undefined : spec;
}

/** What is wrong with an expression, or with the labels that a text shows of its result. */
function faults(expr: string, shown: readonly string[] = []): string[] {
  const found: string[] = [];
  const known = new Set([...FOREIGN_LABELS, 'le']);
  for (const { metric, labels } of usesOf(expr)) {
    if (!metric.startsWith('tailrace_')) continue;
    const spec = specOf(metric);
    if (!spec) {
      found.push(`${metric} is not in the list`);
      continue;
    }
    for (const label of spec.labels) known.add(label);
    for (const label of labels) {
      if (!spec.labels.includes(label) && !FOREIGN_LABELS.includes(label))
        found.push(`${metric} has no label ${label}`);
    }
  }
  const grouped = [...expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/));
  for (const label of [...grouped, ...shown])
    if (!known.has(label)) found.push(`no metric here has the label ${label}`);
  return found;
}

test('every metric and label that a panel uses exists', () => {
  for (const { title, targets } of charts) {
    assert.ok(targets.length > 0, `${title} asks for nothing`);
    for (const { expr, legendFormat } of targets) {
      assert.ok(usesOf(expr).length > 0 || expr.includes('rabbitmq_'), `${title}: ${expr}`);
      const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label);
      assert.deepEqual(faults(expr, shown), [], `${title}: ${expr}`);
      for (const label of shown) assert.ok(expr.includes(label), `${title}: the legend's ${label} is aggregated away`);
    }
  }
});

test('every metric of the list is used in some panel', () => {
  const used = new Set<string | undefined>(
    charts.flatMap(({ targets }) =>
      targets.flatMap(({ expr }) => usesOf(expr)).map(({ metric }) => specOf(metric)?.name),
    ),
  );
  const unused = [...specs.keys()].filter((name) => !used.has(name));
  assert.deepEqual(unused, []);
});

test("what panels use of Node's and the process's metrics is exposed", async () => {
  const metrics = new Metrics({ version: '1.2.3', status: () => sampleStatus });
  const text = await metrics.text();
  const foreign = [...charts.flatMap(({ targets }) => targets), ...rules]
    .flatMap(({ expr }) => usesOf(expr))
    .map(({ metric }) => metric)
    .filter((metric) => !metric.startsWith('tailrace_'));
  assert.ok(foreign.length > 0);
  for (const metric of foreign) {
    const plain = metric.replace(/_(bucket|sum|count)$/, '');
    assert.ok(text.includes(`# TYPE ${metric} `) || text.includes(`# TYPE ${plain} histogram`), metric);
  }
});

test('every panel says what it means and what to do', () => {
  for (const { title, description } of charts) assert.ok(description.length >= 60, title);
});

test('panels have ids of their own and lie on the grid without covering each other', () => {
  for (const dashboard of boards) {
    const cells = new Map<string, string>();
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
    for (const { title, gridPos } of dashboard.panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.equal(cells.get(`${x},${y}`), undefined, `${title} lies on ${cells.get(`${x},${y}`)}`);
          cells.set(`${x},${y}`, title);
        }
      }
    }
  }
});

test('every expression is bound to the chosen instances, and only variables that exist are used', () => {
  for (const { templating, panels } of boards) {
    const names = templating.list.map(({ name }) => name);
    assert.equal(names[0], 'datasource');
    for (const { definition } of templating.list) assert.deepEqual(faults(definition), []);
    for (const { title, targets } of panels) {
      for (const { expr } of targets) {
        for (const { metric, labels } of usesOf(expr)) assert.ok(labels.includes('instance'), `${title}: ${metric}`);
        const variables = [...expr.matchAll(/\$(\w+)/g)].map(([, name = '']) => name);
        for (const name of variables)
          assert.ok(names.includes(name) || name === '__rate_interval', `${title}: $${name}`);
      }
    }
  }
});

test('the committed dashboards are what the code draws: `npm run dashboards` writes them', () => {
  for (const [file, json] of written) assert.deepEqual(JSON.parse(read(`dashboards/${file}`)), JSON.parse(json), file);
  assert.deepEqual(
    readdirSync(new URL('../../grafana/dashboards', import.meta.url)).toSorted(),
    [...written.keys()].toSorted(),
  );
});

test('every metric and label that an alert uses exists, and it says what to do', () => {
  assert.ok(rules.length > 0);
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, expr, annotations } of rules) {
    const shown = [...`${annotations.summary} ${annotations.description}`.matchAll(/\$labels\.(\w+)/g)];
    assert.deepEqual(
      faults(
        expr,
        shown.map(([, label = '']) => label),
      ),
      [],
      `${alert}: ${expr}`,
    );
    assert.match(alert, /^Tailrace[A-Z]/);
    assert.ok(
      usesOf(expr).some(({ metric }) => metric.startsWith('tailrace_')),
      alert,
    );
    assert.ok(annotations.description.length >= 40, alert);
  }
});
