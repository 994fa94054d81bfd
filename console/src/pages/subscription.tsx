/** One subscription: what it is, how it is doing, and each of its lanes. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { count, perSecond, plural, positionTime, seconds, short } from '../format.ts';
import { href } from '../router.ts';
import { rates, status } from '../state.ts';
import type { SubscriptionDetail } from '../types.ts';
import { Chart } from '../ui/chart.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { ChangeButtons } from '../ui/managed.tsx';
import { Badge, Card, Empty, Failure, Heads, Json, Loading, Scroll, Stat, Title, numeric } from '../ui/parts.tsx';
import { ReasonList } from '../ui/reasons.tsx';
import { PauseButton } from './pause.tsx';
import { AddSnapshot } from './snapshot-add.tsx';
import { SnapshotsOf } from './snapshots.tsx';

const LANES_MS = 2_000;

export function SubscriptionPage({ name }: { name: string }): JSX.Element {
  const { value, error, again } = useLoaded<SubscriptionDetail>(`/subscriptions/${encodeURIComponent(name)}`, LANES_MS);
  const live = status.value?.subscriptions[name];
  const head = (
    <Title
      aside={
        <>
          {live && <PauseButton name={name} state={live.state} />}
          <AddSnapshot to={name} />
          <ChangeButtons kind="subscription" name={name} />
        </>
      }
    >
      <span class="muted">
        <a href={href('subscriptions')}>Subscriptions</a> /
      </span>{' '}
      {name}
    </Title>
  );
  if (error && !value)
    return (
      <>
        {head}
        <Failure error={error} again={again} />
      </>
    );
  if (!value || !live)
    return (
      <>
        {head}
        <Loading what={name} />
      </>
    );
  const { holds } = value.status;
  return (
    <>
      {head}
      <dl class="stats">
        <div class="stat">
          <dt>State</dt>
          <dd>
            <Badge state={live.state} />
            {live.detached && <small>reads by itself</small>}
          </dd>
        </div>
        <Stat label="Lag" value={seconds(live.lagSeconds)} note={`confirmed to ${positionTime(live.watermark)}`} />
        <Stat label="Headroom" value={seconds(live.headroomSeconds)} note="of the oplog" />
        <Stat
          label="Events"
          value={perSecond(rates.value?.eventsPublished[name])}
          note={`${count(live.eventsPublished)} sent`}
        />
        <Stat
          label="Messages"
          value={perSecond(rates.value?.messagesConfirmed[name])}
          note={`${count(live.messagesConfirmed)} confirmed`}
        />
        <Stat label="Under way" value={count(value.status.unconfirmed)} note={`${count(value.status.queued)} queued`} />
      </dl>
      {holds.length > 0 && (
        <Card title="What holds it" class="attention">
          <ReasonList
            reasons={holds.map(({ reason, detail, forSeconds, lanes }) => ({
              code: `held-${reason}`,
              text: `${plural(lanes, 'lane')} held for ${seconds(forSeconds)}: ${detail}`,
            }))}
          />
        </Card>
      )}
      {live.parked > 0 && (
        <p class="note warn">
          <a href={href('parked', undefined, { subscription: name })}>{plural(live.parked, 'event')}</a> of it{' '}
          {live.parked === 1 ? 'is' : 'are'} parked.
        </p>
      )}
      <SnapshotsOf name={name} />
      <Card title="Since this page was opened">
        <div class="charts">
          <Chart
            title="Delivery lag"
            minutes={5}
            format={seconds}
            series={[{ label: 'lag', column: `subscription/${name}/lag` }]}
          />
          <Chart
            title="A second"
            minutes={5}
            format={short}
            series={[
              { label: 'events sent', column: `subscription/${name}/events` },
              { label: 'messages confirmed', column: `subscription/${name}/messages`, isDashed: true },
            ]}
          />
        </div>
      </Card>
      <Lanes lanes={value.status.lanes} />
      <Card title="Configuration" aside={<p class="muted">as it was declared; secrets are hidden</p>}>
        <p>
          From <a href={href('sources', value.source)}>{value.source}</a> to{' '}
          {value.sink === null ? 'standard output or a file' : <a href={href('sinks', value.sink)}>{value.sink}</a>}.
        </p>
        <Json value={value.configuration} label={`Configuration of ${name}`} />
      </Card>
    </>
  );
}

function Lanes({ lanes }: { lanes: SubscriptionDetail['status']['lanes'] }): JSX.Element {
  const [onlyHeld, setOnlyHeld] = useState(false);
  const shown = lanes.filter(({ held }) => !onlyHeld || held);
  return (
    <Card
      title={`Lanes (${lanes.length})`}
      aside={
        <label class="check">
          <input
            type="checkbox"
            checked={onlyHeld}
            onChange={({ currentTarget }) => setOnlyHeld(currentTarget.checked)}
          />
          Only held ones
        </label>
      }
    >
      {shown.length === 0 ? (
        <Empty title={onlyHeld ? 'None is held.' : 'None has had anything to deliver yet.'} />
      ) : (
        <Scroll label="Lanes">
          <table>
            <Heads of={[numeric('Partition'), numeric('Queued'), numeric('Unconfirmed'), 'Held']} />
            <tbody>
              {shown.map(({ partition, queued, unconfirmed, held }) => (
                <tr key={partition}>
                  <th scope="row" class="n">
                    {partition}
                  </th>
                  <td class="n">{count(queued)}</td>
                  <td class="n">{count(unconfirmed)}</td>
                  <td>
                    {held ? (
                      <>
                        <a class="code" href={href('health', `held-${held.reason}`)}>
                          held-{held.reason}
                        </a>{' '}
                        for {seconds(held.forSeconds)}: {held.detail}
                      </>
                    ) : (
                      <span class="muted">no</span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}
