/** Where each subscription stands, and what was never delivered. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { count, time } from '../format.ts';
import { href } from '../router.ts';
import type { Checkpoint, Gap } from '../types.ts';
import { useLoaded } from '../ui/loaded.ts';
import { Move } from './move.tsx';
import { Card, Dialog, Empty, Failure, Heads, Loading, Scroll, Title, numeric, unseen } from '../ui/parts.tsx';

interface Answer {
  readonly subscriptions: readonly Checkpoint[];
  readonly gaps: readonly Gap[];
  readonly gapsOnRecord: number;
}

const EVERY_MS = 3_000;

export function CheckpointPage(): JSX.Element {
  const { value, error, again } = useLoaded<Answer>('/checkpoint', EVERY_MS);
  const [lanesOf, showLanes] = useState<string>();
  const [moved, move] = useState<string>();
  const shown = value?.subscriptions.find(({ name }) => name === lanesOf);
  return (
    <>
      <Title>Checkpoint</Title>
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what="the checkpoint" />}
      {value?.subscriptions.length === 0 && <Empty title="No subscription has stored where it begins yet." />}
      {value && value.subscriptions.length > 0 && (
        <Scroll label="Positions">
          <table>
            <Heads
              of={[
                'Subscription',
                'Source',
                'Confirmed to',
                'Reads on from',
                numeric('Lanes'),
                'Stored at',
                unseen('Actions'),
              ]}
            />
            <tbody>
              {value.subscriptions.map((one) => (
                <tr key={one.name}>
                  <th scope="row">
                    {one.configured ? (
                      <a href={href('subscriptions', one.name)}>{one.name}</a>
                    ) : (
                      `${one.name} (not configured)`
                    )}
                  </th>
                  <td>{one.source}</td>
                  <td>
                    {one.watermark ? (
                      <>
                        {time(one.watermark.time)} <code class="muted">{one.watermark.position}</code>
                      </>
                    ) : (
                      <span class="muted">nothing yet</span>
                    )}
                  </td>
                  <td>
                    {time(one.resume.time)} <code class="muted">{one.resume.position}</code>
                  </td>
                  <td class="n">
                    <button type="button" class="link" onClick={() => showLanes(one.name)}>
                      {count(one.lanes.length)} of {count(one.partitions)}
                      <span class="hidden"> lanes of {one.name}</span>
                    </button>
                  </td>
                  <td>{time(one.updatedAt)}</td>
                  <td class="n">
                    {one.configured && (
                      <button type="button" onClick={() => move(one.name)}>
                        Move<span class="hidden"> {one.name}</span> …
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {value && <Gaps gaps={value.gaps} onRecord={value.gapsOnRecord} />}
      {shown && <Lanes of={shown} close={() => showLanes(undefined)} />}
      {moved !== undefined && <Move name={moved} close={() => move(undefined)} done={again} />}
    </>
  );
}

function Gaps({ gaps, onRecord }: { gaps: readonly Gap[]; onRecord: number }): JSX.Element {
  return (
    <Card
      title={`Gaps (${count(onRecord)})`}
      aside={<p class="muted">changes that were not delivered and never will be</p>}
    >
      {gaps.length === 0 ? (
        <Empty title="None: everything since each start was delivered." />
      ) : (
        <Scroll label="Gaps">
          <table>
            <Heads of={['Subscription', 'From', 'To', 'Reason', 'Noticed']} />
            <tbody>
              {gaps.toReversed().map((gap) => (
                <tr key={`${gap.subscription} ${gap.from} ${gap.at}`}>
                  <th scope="row">{gap.subscription}</th>
                  <td>
                    {time(gap.fromTime)} <code class="muted">{gap.from}</code>
                  </td>
                  <td>
                    {time(gap.toTime)} <code class="muted">{gap.to}</code>
                  </td>
                  <td>{gap.reason}</td>
                  <td>{time(gap.at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}

function Lanes({ of, close }: { of: Checkpoint; close: () => void }): JSX.Element {
  return (
    <Dialog title={`Lanes of ${of.name}`} close={close}>
      {of.lanes.length === 0 ? (
        <Empty title="None has confirmed anything yet." />
      ) : (
        <Scroll label="Lanes">
          <table>
            <Heads of={[numeric('Partition'), 'Confirmed to', numeric('Index')]} />
            <tbody>
              {of.lanes.map(({ partition, position, index }) => (
                <tr key={partition}>
                  <th scope="row" class="n">
                    {partition}
                  </th>
                  <td>
                    <code>{position}</code>
                  </td>
                  <td class="n">{index}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Dialog>
  );
}
