/**
 * What the dashboards are made of: a panel is what it asks, what it means and how it is drawn; ids and places on the grid follow from
 * the order. Every dashboard has the same look, variables and links to the others.
 */
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  FieldColorBuilder,
  FieldColorModeId,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dashboard, Threshold, ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  BigValueColorMode,
  GraphDrawStyle,
  GraphThresholdsStyleMode,
  GraphThresholdsStyleConfigBuilder,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as BarGaugeBuilder } from '@grafana/grafana-foundation-sdk/bargauge';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as StateTimelineBuilder } from '@grafana/grafana-foundation-sdk/statetimeline';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/** The variables' selectors, one for each label. */
export const I = 'instance=~"$instance"';
export const SOURCE = `${I}, source=~"$source"`;
export const SUBSCRIPTION = `${I}, subscription=~"$subscription"`;

export interface Chart {
  readonly kind: 'stat' | 'lines' | 'states' | 'bars';
  readonly title: string;
  /** What it means and what to do, at least a sentence of each. */
  readonly means: string;
  /** Grafana's name of it. */
  readonly unit: string;
  readonly width: number;
  /** PromQL and its legend. */
  readonly queries: readonly (readonly [expr: string, legend: string])[];
  /** From which value on which colour; the first has no value. */
  readonly steps?: readonly (readonly [value: number | null, color: string])[];
  readonly words?: Readonly<Record<string, readonly [text: string, color: string]>>;
  readonly max?: number;
}

export interface Board {
  readonly uid: string;
  readonly title: string;
  readonly about: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly { readonly title: string; readonly height: number; readonly charts: readonly Chart[] }[];
}

interface Variable {
  readonly name: string;
  readonly label: string;
  readonly query: string;
}

export const INSTANCE: Variable = {
  name: 'instance',
  label: 'Instance',
  query: 'label_values(tailrace_build_info, instance)',
};
export const SOURCES: Variable = {
  name: 'source',
  label: 'Source',
  query: `label_values(tailrace_entries_read_total{${I}}, source)`,
};
export const SUBSCRIPTIONS: Variable = {
  name: 'subscription',
  label: 'Subscription',
  query: `label_values(tailrace_events_published_total{${I}}, subscription)`,
};
/** RabbitMQ's own series have an instance of their own: a node of the broker. */
export const NODES: Variable = {
  name: 'node',
  label: 'RabbitMQ node',
  query: 'label_values(rabbitmq_build_info, instance)',
};

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const WIDTH = 24;

export function draw({ uid, title, about, variables, rows }: Board): Dashboard {
  const dashboard = new DashboardBuilder(title)
    .uid(uid)
    .description(about)
    .tags(['tailrace', 'mongodb', 'rabbitmq', 'cdc'])
    .editable()
    .tooltip(DashboardCursorSync.Crosshair)
    .refresh('10s')
    .timezone('browser')
    .time({ from: 'now-1h', to: 'now' })
    .link(
      new DashboardLinkBuilder('Tailrace')
        .type(DashboardLinkType.Dashboards)
        .tags(['tailrace'])
        .keepTime(true)
        .includeVars(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'));
  for (const { name, label, query } of variables) {
    dashboard.withVariable(
      new QueryVariableBuilder(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({ query, refId: name })
        .definition(query)
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc)
        .multi(true)
        .includeAll(true)
        .allValue('.*')
        .current({ selected: true, text: ['All'], value: ['$__all'] }),
    );
  }
  let id = 0;
  let y = 0;
  for (const { title: heading, height, charts } of rows) {
    dashboard.withRow(new RowBuilder(heading).id(++id).gridPos({ x: 0, y: y++, w: WIDTH, h: 1 }));
    let x = 0;
    for (const chart of charts) {
      if (x + chart.width > WIDTH) {
        x = 0;
        y += height;
      }
      const panel = panelOf(chart)
        .id(++id)
        .title(chart.title)
        .description(chart.means)
        .datasource(DATASOURCE)
        .unit(chart.unit)
        .gridPos({ x, y, w: chart.width, h: height });
      for (const [n, [expr, legend]] of chart.queries.entries()) panel.withTarget(query(chart, n, expr, legend));
      if (chart.words) panel.mappings(mappings(chart.words));
      if (chart.steps) panel.thresholds(thresholds(chart.steps));
      dashboard.withPanel(panel);
      x += chart.width;
    }
    y += height;
  }
  return dashboard.build();
}

function panelOf(chart: Chart): StatBuilder | TimeseriesBuilder | StateTimelineBuilder | BarGaugeBuilder {
  const byThreshold = new FieldColorBuilder().mode(FieldColorModeId.Thresholds);
  const latest = new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false);
  switch (chart.kind) {
    case 'stat':
      return new StatBuilder().colorScheme(byThreshold).colorMode(BigValueColorMode.Background).reduceOptions(latest);
    case 'bars':
      return new BarGaugeBuilder()
        .colorScheme(byThreshold)
        .orientation(VizOrientation.Horizontal)
        .reduceOptions(latest)
        .min(0)
        .max(chart.max ?? 1);
    case 'states':
      return new StateTimelineBuilder()
        .colorScheme(byThreshold)
        .showValue(VisibilityMode.Never)
        .mergeValues(true)
        .fillOpacity(80)
        .lineWidth(0)
        .legend(legend(false));
    case 'lines': {
      const panel = new TimeseriesBuilder()
        .drawStyle(GraphDrawStyle.Line)
        .lineWidth(1)
        .fillOpacity(10)
        .showPoints(VisibilityMode.Never)
        .min(0)
        .legend(legend(true))
        .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
      const line = new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Line);
      return chart.steps ? panel.thresholdsStyle(line) : panel;
    }
  }
}

function query({ kind }: Chart, n: number, expr: string, legendFormat: string): DataqueryBuilder {
  const asked = new DataqueryBuilder()
    .refId(String.fromCodePoint(65 + n))
    .datasource(DATASOURCE)
    .expr(expr)
    .legendFormat(legendFormat);
  return kind === 'stat' || kind === 'bars' ? asked.instant() : asked.range();
}

function legend(show: boolean): VizLegendOptionsBuilder {
  return new VizLegendOptionsBuilder()
    .displayMode(LegendDisplayMode.List)
    .placement(LegendPlacement.Bottom)
    .showLegend(show);
}

function thresholds(steps: NonNullable<Chart['steps']>): ThresholdsConfigBuilder {
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps(steps.map(([value, color]): Threshold => ({ value, color })));
}

function mappings(words: NonNullable<Chart['words']>): ValueMapping[] {
  const options = Object.fromEntries(
    Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }]),
  );
  return [{ type: 'value', options } as ValueMapping];
}
