/** Is it healthy, how far behind, how long until the oplog runs out, and what holds it up. */
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { bytes, count, perSecond, plural, seconds, short, time } from '../format.ts';
import { href } from '../router.ts';
import { health, rates, status } from '../state.ts';
import type { StatusReport, Subscription } from '../types.ts';
import { Chart } from '../ui/chart.tsx';
import type { Series } from '../ui/chart.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { Card, Loading, Stat, Title } from '../ui/parts.tsx';
import { ReasonList } from '../ui/reasons.tsx';
import { Flow } from './flow.tsx';
import { heldUpBy } from './holds.ts';

const SPANS = [5, 15, 60];
/** More lines than colours tell nothing. */
const MOST_LINES = 6;

export function Overview(): JSX.Element {
  const report = status.value;
  const { value: definitions } = useLoaded<{ subscriptions: Subscription[] }>('/subscriptions');
  const sinkOf = useMemo(
    () => definitions && new Map(definitions.subscriptions.map(({ name, sink }) => [name, sink])),
    [definitions],
  );
  if (!report) return <Loading what="the status" />;
  const now = rates.value;
  const holder = heldUpBy(report, now);
  return (
    <>
      <Title>Overview</Title>
      <Attention report={report} />
      <Numbers report={report} />
      <Card
        title="Path of the data"
        class="wide"
        aside={<p class={`verdict ${holder === undefined ? 'ok' : 'warn'}`}>{holder ?? 'Nothing holds it up.'}</p>}
      >
        <Flow status={report} rates={now} sinkOf={sinkOf} />
      </Card>
      <Charts report={report} />
    </>
  );
}

function Numbers({ report }: { report: StatusReport }): JSX.Element {
  const now = rates.value;
  const sources = Object.values(report.sources);
  const subscriptions = Object.values(report.subscriptions);
  const lag = most(subscriptions.filter(({ state }) => state !== 'paused').map(({ lagSeconds }) => lagSeconds));
  const headroom = least(sources.map(({ headroomSeconds }) => headroomSeconds));
  const window = least(sources.map(({ windowSeconds }) => windowSeconds));
  const parked = subscriptions.reduce((all, one) => all + one.parked, 0);
  const flowing = subscriptions.filter(({ state }) => state === 'flowing').length;
  return (
    <dl class="stats">
      <Stat label="Delivery lag" value={seconds(lag)} note="furthest behind" />
      <Stat
        label="Headroom"
        value={seconds(headroom)}
        note={`of ${seconds(window)} oplog`}
        {...(headroom !== null &&
          headroom < 3600 &&
          window !== null &&
          headroom < window * 0.5 && { tone: 'warn' as const })}
      />
      <Stat
        label="Read"
        value={perSecond(total(now?.entriesRead))}
        note={now ? `${bytes(total(now.bytesRead))}/s` : ''}
      />
      <Stat
        label="Events sent"
        value={perSecond(total(now?.eventsPublished))}
        note={`${perSecond(total(now?.messagesConfirmed))} messages confirmed`}
      />
      <Stat label="Subscriptions" value={`${flowing} of ${subscriptions.length}`} note="flowing" />
      <Stat
        label="Parked"
        value={count(parked)}
        note={bytes(report.parking.bytes)}
        {...(parked > 0 && { tone: 'warn' as const })}
      />
    </dl>
  );
}

function Attention({ report }: { report: StatusReport }): JSX.Element | null {
  const { reasons = [], stuck = [] } = health.value ?? {};
  const of = Object.entries(report.subscriptions);
  const paused = of.filter(([, { state }]) => state === 'paused').map(([name]) => name);
  const parked = of.reduce((all, [, one]) => all + one.parked, 0);
  const detached = of.filter(([, one]) => one.detached).map(([name]) => name);
  const gap = report.gaps.at(-1);
  const notes: (JSX.Element | false)[] = [
    detached.length > 0 && (
      <li class="warn">
        {detached.map(link)} {detached.length === 1 ? 'reads' : 'read'} apart from the others until caught up.
      </li>
    ),
    parked > 0 && (
      <li class="warn">
        <a href={href('parked')}>{plural(parked, 'event')} parked</a>: look at the reasons, mend the cause, and replay
        them.
      </li>
    ),
    gap !== undefined && (
      <li class="warn">
        <a href={href('checkpoint')}>{plural(report.gaps.length, 'gap')} on record</a>, the last of source {gap.source}{' '}
        at {time(gap.at)}: changes that were not delivered.
      </li>
    ),
    paused.length > 0 && (
      <li class="idle">
        {paused.map(link)} {paused.length === 1 ? 'is' : 'are'} paused; the oplog moves on meanwhile.
      </li>
    ),
  ];
  const some = notes.filter((one) => one !== false);
  if (reasons.length + stuck.length + some.length === 0) return null;
  return (
    <Card title="Needs attention" class="attention">
      <ReasonList reasons={[...stuck, ...reasons]} />
      {some.length > 0 && <ul class="reasons">{some}</ul>}
    </Card>
  );
}

function link(name: string): JSX.Element {
  return (
    <>
      <a href={href('subscriptions', name)}>{name}</a>{' '}
    </>
  );
}

function Charts({ report }: { report: StatusReport }): JSX.Element {
  const [minutes, setMinutes] = useState(5);
  const sources = Object.keys(report.sources).slice(0, MOST_LINES);
  const subscriptions = Object.keys(report.subscriptions).slice(0, MOST_LINES);
  const each = (names: readonly string[], what: string, column: string): Series[] =>
    names.map((name) => ({ label: name, column: `${what}/${name}/${column}` }));
  return (
    <Card
      title="Since this page was opened"
      aside={
        <fieldset class="segments">
          <legend class="hidden">Time shown</legend>
          {SPANS.map((span) => (
            <label key={span}>
              <input type="radio" name="span" checked={span === minutes} onChange={() => setMinutes(span)} />
              <span>{span === 60 ? '1 h' : `${span} min`}</span>
            </label>
          ))}
        </fieldset>
      }
    >
      <div class="charts">
        <Chart
          title="Delivery lag"
          minutes={minutes}
          format={seconds}
          series={each(subscriptions, 'subscription', 'lag')}
        />
        <Chart
          title="Headroom in the oplog"
          minutes={minutes}
          format={seconds}
          series={sources.flatMap((name) => [
            { label: `${name} headroom`, column: `source/${name}/headroom` },
            { label: `${name} window`, column: `source/${name}/window`, isDashed: true },
          ])}
        />
        <Chart
          title="Entries read a second"
          minutes={minutes}
          format={short}
          series={each(sources, 'source', 'entries')}
        />
        <Chart
          title="Events sent a second"
          minutes={minutes}
          format={short}
          series={each(subscriptions, 'subscription', 'events')}
        />
      </div>
    </Card>
  );
}

function total(by: Readonly<Record<string, number>> | undefined): number | null {
  const all = Object.values(by ?? {});
  return all.length === 0 ? null : all.reduce((sum, one) => sum + one, 0);
}

function most(values: readonly (number | null)[]): number | null {
  const known = values.filter((one) => one !== null);
  return known.length === 0 ? null : Math.max(...known);
}

function least(values: readonly (number | null)[]): number | null {
  const known = values.filter((one) => one !== null);
  return known.length === 0 ? null : Math.min(...known);
}
