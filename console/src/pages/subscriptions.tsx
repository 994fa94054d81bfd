/** All subscriptions: how each is doing, and a hand on each of them. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { count, perSecond, seconds } from '../format.ts';
import { href } from '../router.ts';
import { rates, status } from '../state.ts';
import { AddButton } from '../ui/managed.tsx';
import { Badge, Empty, Heads, Loading, Scroll, Title, numeric, unseen } from '../ui/parts.tsx';
import { summed } from './holds.ts';
import { PauseButton } from './pause.tsx';

export function Subscriptions(): JSX.Element {
  const report = status.value;
  const [search, setSearch] = useState('');
  const [state, setState] = useState('');
  if (!report) return <Loading what="the subscriptions" />;
  const all = Object.entries(report.subscriptions);
  const shown = all.filter(
    ([name, one]) => name.toLowerCase().includes(search.toLowerCase()) && (state === '' || one.state === state),
  );
  const states = [...new Set(all.map(([, one]) => one.state))].toSorted();
  return (
    <>
      <Title aside={<AddButton kind="subscription" />}>Subscriptions</Title>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>
          Name
          <input type="search" value={search} onInput={({ currentTarget }) => setSearch(currentTarget.value)} />
        </label>
        <label>
          State
          <select value={state} onChange={({ currentTarget }) => setState(currentTarget.value)}>
            <option value="">any</option>
            {states.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <p class="muted" role="status">
          {shown.length} of {all.length}
        </p>
      </form>
      {shown.length === 0 ? (
        <Empty title="No subscription is like that.">
          <button
            type="button"
            onClick={() => {
              setSearch('');
              setState('');
            }}
          >
            Show all
          </button>
        </Empty>
      ) : (
        <Scroll label="Subscriptions">
          <table>
            <Heads
              of={[
                'Name',
                'State',
                'Source',
                numeric('Lag'),
                numeric('Headroom'),
                numeric('Events'),
                numeric('Confirmed'),
                numeric('Queued'),
                numeric('Unconfirmed'),
                numeric('Parked'),
                unseen('Actions'),
              ]}
            />
            <tbody>
              {shown.map(([name, one]) => {
                const { queued, unconfirmed, held } = summed(one.lanes);
                return (
                  <tr key={name}>
                    <th scope="row">
                      <a href={href('subscriptions', name)}>{name}</a>
                    </th>
                    <td>
                      <Badge state={one.state} />
                      {held > 0 && (
                        <small class="muted">
                          {' '}
                          {held} of {one.lanes.length} lanes
                        </small>
                      )}
                      {one.detached && <small class="muted"> by itself</small>}
                    </td>
                    <td>
                      <a href={href('sources', one.source)}>{one.source}</a>
                    </td>
                    <td class="n">{seconds(one.lagSeconds)}</td>
                    <td class="n">{seconds(one.headroomSeconds)}</td>
                    <td class="n">{perSecond(rates.value?.eventsPublished[name])}</td>
                    <td class="n">{perSecond(rates.value?.messagesConfirmed[name])}</td>
                    <td class="n">{count(queued)}</td>
                    <td class="n">{count(unconfirmed)}</td>
                    <td class="n">
                      {one.parked > 0 ? (
                        <a href={href('parked', undefined, { subscription: name })}>{count(one.parked)}</a>
                      ) : (
                        '0'
                      )}
                    </td>
                    <td class="n">
                      <PauseButton name={name} state={one.state} />
                    </td>
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
