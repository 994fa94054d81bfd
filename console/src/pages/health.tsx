/** What `/readyz` and `/healthz` say and what to do about it, and the page of any code. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { bytes, percent, seconds } from '../format.ts';
import { href } from '../router.ts';
import { health, rates, status } from '../state.ts';
import type { CodePage } from '../types.ts';
import { useLoaded } from '../ui/loaded.ts';
import { Markdown } from '../ui/markdown.tsx';
import { Card, Empty, Failure, Loading, Stat, Title } from '../ui/parts.tsx';
import { ReasonList } from '../ui/reasons.tsx';

export function HealthPage(): JSX.Element {
  const now = health.value;
  const report = status.value;
  if (!now || !report) return <Loading what="the health" />;
  return (
    <>
      <Title>Health</Title>
      <dl class="stats">
        <Stat label="Ready" value={now.ready ? 'yes' : 'no'} note="/readyz" tone={now.ready ? 'ok' : 'bad'} />
        <Stat label="Alive" value={now.live ? 'yes' : 'no'} note="/healthz" tone={now.live ? 'ok' : 'bad'} />
        <Stat label="Up for" value={seconds(report.uptimeSeconds)} note={`version ${report.version}`} />
        <Stat label="Memory" value={bytes(report.process.residentBytes)} />
        <Stat label="Processor" value={rates.value?.cpu?.toFixed(2) ?? '–'} note="cores" />
        <Stat label="Main thread" value={percent(rates.value?.mainBusy)} note="busy" />
      </dl>
      <Card title="Reasons">
        {now.reasons.length + now.stuck.length === 0 ? (
          <Empty title="None: both ends are connected, batches come, no lane is held, and no confirm is overdue." />
        ) : (
          <ReasonList reasons={[...now.stuck, ...now.reasons]} />
        )}
      </Card>
      <Codes />
    </>
  );
}

function Codes(): JSX.Element {
  const { value, error, again } = useLoaded<{ codes: { code: string; title: string }[] }>('/codes');
  const [search, setSearch] = useState('');
  const wanted = search.toLowerCase();
  const shown = value?.codes.filter(({ code, title }) => `${code} ${title}`.toLowerCase().includes(wanted)) ?? [];
  return (
    <Card
      title="All codes"
      aside={
        <label class="inline">
          Find <input type="search" value={search} onInput={({ currentTarget }) => setSearch(currentTarget.value)} />
        </label>
      }
    >
      {error && <Failure error={error} again={again} />}
      {value && shown.length === 0 && <Empty title="No code is like that." />}
      <dl class="codes">
        {shown.map(({ code, title }) => (
          <div key={code}>
            <dt>
              <a class="code" href={href('health', code)}>
                {code}
              </a>
            </dt>
            <dd>{title}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

export function CodePageView({ code }: { code: string }): JSX.Element {
  const { value, error, again } = useLoaded<CodePage>(`/codes/${encodeURIComponent(code)}`);
  return (
    <>
      <Title>
        <span class="muted">
          <a href={href('health')}>Health</a> /
        </span>{' '}
        {code}
      </Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what={code} />}
      {value && (
        <>
          <p class="lead">{value.title}</p>
          <Card title="Why">
            <Markdown text={value.why} />
          </Card>
          <Card title="What to do">
            <Markdown text={value.whatToDo} />
          </Card>
          <Card title="Meanwhile">
            <Markdown text={value.meanwhile} />
          </Card>
          <Card title="Lost or repeated">
            <Markdown text={value.lostOrRepeated} />
          </Card>
        </>
      )}
    </>
  );
}
