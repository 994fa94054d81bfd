/** Prometheus' own promtool runs the rules over made-up series: each alert fires where it should, and is silent where it should be. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { prometheusBinaries } from '../servers/prometheus-binary.ts';
import { run } from '../servers/run.ts';

const RULES = fileURLToPath(new URL('../../grafana/rules.yaml', import.meta.url));
const RUNBOOKS = new URL('../../docs/runbooks.md', import.meta.url);

/** Series by name without the labels of the scrape, and their values, one a minute, in promtool's notation. */
type Series = Readonly<Record<string, string>>;

const S = '{source="shop"}';
const O = '{subscription="orders"}';
const window = { [`tailrace_oplog_window_seconds${S}`]: '86400x60' };
const headroom = (values: string): Series => ({ ...window, [`tailrace_oplog_headroom_seconds${S}`]: values });
const one = (series: string) => (firing: string, quiet: string) => ({
  firing: { [series]: firing },
  quiet: { [series]: quiet },
});

const CASES: Readonly<Record<string, { readonly firing: Series; readonly quiet: Series; readonly at?: string }>> = {
  TailraceAbsent: { firing: { up: '0x60' }, quiet: { tailrace_build_info: '1x60' } },
  TailraceNotReady: one('tailrace_ready')('0x60', '1x60'),
  TailraceRestarting: {
    firing: { process_start_time_seconds: '0+60x60', tailrace_build_info: '1x60' },
    quiet: { process_start_time_seconds: '0x60', tailrace_build_info: '1x60' },
  },
  TailraceSourceStopped: one('tailrace_source_state{source="shop",state="stopped"}')('1x60', '0x60'),
  TailracePositionLost: one('tailrace_source_state{source="shop",state="position_lost"}')('1x60', '0x60'),
  TailraceGap: {
    ...one('tailrace_gaps_total{source="shop",reason="truncated"}')('0x60 1x60', '1x120'),
    at: '90m',
  },
  TailraceHeadroomBelowHour: { firing: headroom('3000x60'), quiet: headroom('4000x60') },
  TailraceHeadroomSmall: { firing: headroom('40000x60'), quiet: headroom('50000x60') },
  TailraceHeadroomEnding: { firing: headroom('40000-800x50'), quiet: headroom('40000x60') },
  TailraceLagGrowing: one(`tailrace_source_lag_seconds${S}`)('0+10x60', '600-5x60'),
  TailraceDeliveryLate: one(`tailrace_checkpoint_lag_seconds${S}`)('400x60', '200x60'),
  TailraceMajorityLag: one(`tailrace_majority_lag_seconds${S}`)('61x60', '59x60'),
  TailraceMajorityStalled: one(`tailrace_majority_lag_seconds${S}`)('0+60x60', '50x60'),
  TailraceLaneHeld: {
    firing: { 'tailrace_lane_held{subscription="orders",partition="1",reason="nacked"}': '1x60' },
    quiet: { 'tailrace_lane_held{subscription="orders",partition="1",reason="nacked"}': '1x10 stale' },
  },
  TailraceSinkBlocked: one('tailrace_sink_blocked{sink="rabbit"}')('1x60', '0x60'),
  TailraceNothingConfirmed: {
    firing: { [`tailrace_messages_unconfirmed${O}`]: '5x60', [`tailrace_messages_confirmed_total${O}`]: '9x60' },
    quiet: { [`tailrace_messages_unconfirmed${O}`]: '5x60', [`tailrace_messages_confirmed_total${O}`]: '9+10x60' },
  },
  TailraceReconnecting: one('tailrace_reconnects_total{end="sink",name="rabbit"}')('0+1x60', '0x50 1x10'),
  TailraceParked: one('tailrace_events_parked_total{subscription="orders",reason="too-large"}')('0+1x60', '7x60'),
  TailraceParkingFilling: {
    firing: { tailrace_parked_bytes: '90x60', tailrace_parked_limit_bytes: '100x60' },
    quiet: { tailrace_parked_bytes: '70x60', tailrace_parked_limit_bytes: '100x60' },
  },
};

interface Alert {
  readonly alert?: string;
  readonly annotations?: { readonly runbook_url?: string };
}

const parsed = parse(await readFile(RULES, 'utf8')) as { groups: { rules: Alert[] }[] };
const alerts = parsed.groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert !== undefined);

/** Resolves when promtool finds exactly so many of this alert firing; rejects with what it says. */
async function judge(alert: string, series: Series, firing: number, at = '45m'): Promise<void> {
  const { promtool } = await prometheusBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-rules-'));
  try {
    const file = join(folder, 'test.yaml');
    const input = Object.entries(series).map(([name, values]) => ({ series: scraped(name), values }));
    const expr = `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`;
    const asked = { expr, eval_time: at, exp_samples: [{ labels: '{}', value: firing }] };
    const tests = [{ interval: '1m', input_series: input, promql_expr_test: [asked] }];
    await writeFile(file, stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }));
    await run(promtool, ['test', 'rules', file]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function scraped(series: string): string {
  const labels = 'instance="a:9464",job="tailrace"';
  return series.endsWith('}') ? `${series.slice(0, -1)},${labels}}` : `${series}{${labels}}`;
}

test('promtool finds nothing wrong with the rules', async () => {
  const { promtool } = await prometheusBinaries();
  assert.match(await run(promtool, ['check', 'rules', RULES]), /SUCCESS/);
});

test('every alert has a case, and a runbook that exists', async () => {
  assert.deepEqual(alerts.map(({ alert }) => String(alert)).toSorted(), Object.keys(CASES).toSorted());
  const pages = await readFile(RUNBOOKS, 'utf8');
  for (const { alert, annotations } of alerts) {
    assert.equal(annotations?.runbook_url, `docs/runbooks.md#${alert!.toLowerCase()}`);
    assert.ok(pages.includes(`\n## ${alert}\n`), alert);
  }
});

describe('each alert fires in its trouble and not without it', () => {
  for (const [alert, { firing, quiet, at }] of Object.entries(CASES)) {
    test(alert, async () => {
      await judge(alert, firing, 1, at);
      await judge(alert, quiet, 0, at);
    });
  }
});
