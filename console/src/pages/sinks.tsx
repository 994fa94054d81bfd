/** All sinks, and one of them: what is delivered to, and whether it takes. */
import type { JSX } from 'preact';
import { perSecond } from '../format.ts';
import { href } from '../router.ts';
import { rates, status } from '../state.ts';
import type { Sink } from '../types.ts';
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

export function Sinks(): JSX.Element {
  const { value, error, again } = useLoaded<{ sinks: Sink[] }>('/sinks');
  return (
    <>
      <Title aside={<AddButton kind="sink" />}>Sinks</Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what="the sinks" />}
      {value?.sinks.length === 0 && (
        <Empty title="There is no sink: what is wanted goes to standard output or to files." />
      )}
      {value && value.sinks.length > 0 && (
        <Scroll label="Sinks">
          <table>
            <Heads of={['Name', 'State', numeric('Messages confirmed'), 'Subscriptions']} />
            <tbody>
              {value.sinks.map((sink) => (
                <tr key={sink.name}>
                  <th scope="row">
                    <a href={href('sinks', sink.name)}>{sink.name}</a>
                  </th>
                  <td>
                    <SinkState name={sink.name} />
                  </td>
                  <td class="n">{perSecond(confirmed(sink))}</td>
                  <td class="wrap">
                    <Names page="subscriptions" names={sink.subscriptions} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

export function SinkPage({ name }: { name: string }): JSX.Element {
  const { value, error, again } = useLoaded<Sink>(`/sinks/${encodeURIComponent(name)}`);
  const live = status.value?.sinks[name];
  return (
    <>
      <Title aside={<ChangeButtons kind="sink" name={name} />}>
        <span class="muted">
          <a href={href('sinks')}>Sinks</a> /
        </span>{' '}
        {name}
      </Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what={name} />}
      {value && (
        <>
          <dl class="stats">
            <div class="stat">
              <dt>State</dt>
              <dd>
                <SinkState name={name} />
              </dd>
            </div>
            <Stat label="Messages confirmed" value={perSecond(confirmed(value))} />
            <Stat label="Subscriptions" value={String(value.subscriptions.length)} note="deliver to it" />
          </dl>
          {live !== undefined && live.blocked !== null && (
            <p class="note bad">
              RabbitMQ takes no messages: {live.blocked}.{' '}
              <a href={href('health', 'sink-blocked')}>What to do about sink-blocked</a>
            </p>
          )}
          <Card title="Configuration" aside={<p class="muted">as it was declared; secrets are hidden</p>}>
            <p>
              Subscriptions that deliver to it: <Names page="subscriptions" names={value.subscriptions} />
            </p>
            <Json value={value.configuration} label={`Configuration of ${name}`} />
          </Card>
        </>
      )}
    </>
  );
}

function SinkState({ name }: { name: string }): JSX.Element {
  const live = status.value?.sinks[name];
  if (!live) return <Badge state="unused" />;
  return <Badge state={live.blocked === null ? live.state : 'blocked'} />;
}

function confirmed({ subscriptions }: Sink): number | null {
  const by = rates.value?.messagesConfirmed;
  return by ? subscriptions.reduce((sum, name) => sum + (by[name] ?? 0), 0) : null;
}
