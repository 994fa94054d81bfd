/** All sources, and one of them: what is read, how far behind, and how long until the oplog runs out. */
import type { JSX } from 'preact';
import { bytes, count, perSecond, positionTime, seconds, short } from '../format.ts';
import { href } from '../router.ts';
import { rates, status } from '../state.ts';
import type { Source } from '../types.ts';
import { Chart } from '../ui/chart.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { AddButton, ChangeButtons } from '../ui/managed.tsx';
import {
  Badge,
  Card,
  Empty,
  Failure,
  Heads,
  Json,
  Loading,
  Names,
  Scroll,
  Stat,
  Title,
  numeric,
} from '../ui/parts.tsx';

export function Sources(): JSX.Element {
  const { value, error, again } = useLoaded<{ sources: Source[] }>('/sources');
  const live = status.value?.sources ?? {};
  return (
    <>
      <Title aside={<AddButton kind="source" />}>Sources</Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what="the sources" />}
      {value?.sources.length === 0 && <Empty title="There is no source." />}
      {value && value.sources.length > 0 && (
        <Scroll label="Sources">
          <table>
            <Heads
              of={[
                'Name',
                'State',
                'Member',
                numeric('Lag'),
                numeric('Headroom'),
                numeric('Oplog'),
                numeric('Entries'),
                numeric('Bytes'),
                numeric('In flight'),
                'Subscriptions',
              ]}
            />
            <tbody>
              {value.sources.map(({ name, subscriptions }) => {
                const one = live[name];
                return (
                  <tr key={name}>
                    <th scope="row">
                      <a href={href('sources', name)}>{name}</a>
                    </th>
                    <td>
                      <Badge state={one?.state ?? 'unused'} />
                    </td>
                    <td>{one?.member ?? '–'}</td>
                    <td class="n">{seconds(one?.lagSeconds)}</td>
                    <td class="n">{seconds(one?.headroomSeconds)}</td>
                    <td class="n">{seconds(one?.windowSeconds)}</td>
                    <td class="n">{perSecond(rates.value?.entriesRead[name])}</td>
                    <td class="n">{bytes(rates.value?.bytesRead[name])}/s</td>
                    <td class="n">{bytes(one?.inFlightBytes)}</td>
                    <td class="n">{subscriptions.length}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

export function SourcePage({ name }: { name: string }): JSX.Element {
  const { value, error, again } = useLoaded<Source>(`/sources/${encodeURIComponent(name)}`);
  const live = status.value?.sources[name];
  return (
    <>
      <Title aside={<ChangeButtons kind="source" name={name} />}>
        <span class="muted">
          <a href={href('sources')}>Sources</a> /
        </span>{' '}
        {name}
      </Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what={name} />}
      {value && live && (
        <>
          <dl class="stats">
            <div class="stat">
              <dt>State</dt>
              <dd>
                <Badge state={live.state} />
                <small>{live.member ?? 'no member'}</small>
              </dd>
            </div>
            <Stat label="Lag" value={seconds(live.lagSeconds)} note={`read to ${positionTime(live.position)}`} />
            <Stat
              label="Headroom"
              value={seconds(live.headroomSeconds)}
              note={`of ${seconds(live.windowSeconds)} oplog`}
            />
            <Stat
              label="Read"
              value={perSecond(rates.value?.entriesRead[name])}
              note={`${count(live.entriesRead)} entries, ${bytes(live.bytesRead)}`}
            />
            <Stat label="In flight" value={bytes(live.inFlightBytes)} note="read and not yet confirmed" />
            <Stat label="Majority" value={seconds(live.majorityLagSeconds)} note="behind the newest" />
          </dl>
          {live.heldBy.length > 0 && (
            <p class="note warn">
              Reading waits for confirms of <Names page="subscriptions" names={live.heldBy} />.
            </p>
          )}
          <Card title="Since this page was opened">
            <div class="charts">
              <Chart
                title="Headroom in the oplog"
                minutes={5}
                format={seconds}
                series={[
                  { label: 'headroom', column: `source/${name}/headroom` },
                  { label: 'window', column: `source/${name}/window`, isDashed: true },
                ]}
              />
              <Chart
                title="Lag"
                minutes={5}
                format={seconds}
                series={[{ label: 'lag', column: `source/${name}/lag` }]}
              />
              <Chart
                title="Entries read a second"
                minutes={5}
                format={short}
                series={[{ label: 'entries', column: `source/${name}/entries` }]}
              />
              <Chart
                title="Bytes in flight"
                minutes={5}
                format={bytes}
                series={[{ label: 'in flight', column: `source/${name}/inFlight` }]}
              />
            </div>
          </Card>
        </>
      )}
      {value && !live && <p class="note">No subscription reads from it: it is not connected.</p>}
      {value && (
        <Card title="Configuration" aside={<p class="muted">as it was declared; secrets are hidden</p>}>
          <p>
            Subscriptions that read from it: <Names page="subscriptions" names={value.subscriptions} />
          </p>
          <Json value={value.configuration} label={`Configuration of ${name}`} />
        </Card>
      )}
    </>
  );
}
