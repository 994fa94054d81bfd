/** What is being read beside the changes, over all subscriptions and of one: how far it is, held up, gone on with, ended. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { count, perSecond, plural, seconds, time } from '../format.ts';
import { href } from '../router.ts';
import { askNow, status } from '../state.ts';
import type { SnapshotStatus } from '../types.ts';
import { Confirm } from '../ui/confirm.tsx';
import { Badge, Card, Empty, Failure, Heads, Loading, Scroll, Title, toneOf, unseen } from '../ui/parts.tsx';
import { AddSnapshot } from './snapshot-add.tsx';

const CAUSES: Readonly<Record<SnapshotStatus['cause'], string>> = {
  start: 'as it began',
  asked: 'asked for',
  'position-lost': 'after its position was lost',
};
/** Of many patterns so many are shown. */
const SOME = 5;

export function Snapshots(): JSX.Element {
  const report = status.value;
  if (!report) return <Loading what="the snapshots" />;
  const { snapshots } = report;
  const going = snapshots.filter((one) => !isOver(one)).length;
  return (
    <>
      <Title aside={<AddSnapshot />}>Snapshots</Title>
      {snapshots.length === 0 ? (
        <Empty title="There is none.">
          <p>A snapshot delivers what is in the collections already, beside the changes and in order with them.</p>
        </Empty>
      ) : (
        <>
          <p class="muted" role="status">
            {count(going)} going on, {count(snapshots.length - going)} over
          </p>
          <List snapshots={snapshots} />
        </>
      )}
    </>
  );
}

/** Nothing where it has none. */
export function SnapshotsOf({ name }: { name: string }): JSX.Element | null {
  const own = status.value?.snapshots.filter(({ subscription }) => subscription === name) ?? [];
  if (own.length === 0) return null;
  return (
    <Card title="Snapshots">
      <List snapshots={own} />
    </Card>
  );
}

function List({ snapshots }: { snapshots: readonly SnapshotStatus[] }): JSX.Element {
  const [cancelled, cancel] = useState<string>();
  const [error, setError] = useState<AskError>();
  const [isEnded, setEnded] = useState(false);
  // The button that had the focus goes with what it was for. Behind a dialog that is still there nothing takes it.
  useEffect(() => {
    if (!isEnded || cancelled !== undefined) return;
    document.querySelector('h1')?.focus();
    setEnded(false);
  }, [isEnded, cancelled]);
  const set = async (id: string, what: 'pause' | 'resume'): Promise<void> => {
    setError(undefined);
    try {
      await change(id, what);
    } catch (failed) {
      setError(failed instanceof AskError ? failed : new AskError(String(failed)));
    }
  };
  return (
    <>
      {error && <Failure error={error} />}
      <Scroll label="Snapshots">
        <table>
          <Heads of={['Snapshot', 'Of', 'State', 'Progress', unseen('Actions')]} />
          <tbody>
            {[...snapshots.filter((one) => !isOver(one)), ...snapshots.filter(isOver).toReversed()].map((one) => (
              <Row key={one.id} of={one} waits={waitsFor(one, snapshots)} set={set} cancel={cancel} />
            ))}
          </tbody>
        </table>
      </Scroll>
      {cancelled !== undefined && (
        <Confirm
          title={`Cancel ${cancelled}?`}
          verb="End it"
          back="Keep it"
          isDanger
          close={() => cancel(undefined)}
          work={async () => {
            await change(cancelled, 'cancel');
            setEnded(true);
          }}
        >
          <p>
            What was delivered of it stays delivered, and what was not <b>is left out</b>: it cannot be gone on with,
            only added anew. Changes are delivered as ever.
          </p>
        </Confirm>
      )}
    </>
  );
}

interface RowProps {
  readonly of: SnapshotStatus;
  readonly waits: string | undefined;
  readonly set: (id: string, what: 'pause' | 'resume') => Promise<void>;
  readonly cancel: (id: string) => void;
}

function Row({ of: one, waits, set, cancel }: RowProps): JSX.Element {
  const { id, subscription, state, cause, startedAt } = one;
  const other = state === 'paused' ? 'resume' : 'pause';
  const shown = waits === undefined ? state : 'waiting';
  return (
    <tr>
      <th scope="row">
        <a href={href('subscriptions', subscription)}>{id}</a>
      </th>
      <td class="wrap">
        <What of={one} />
        <br />
        <small>
          {CAUSES[cause]}, {time(startedAt)}
        </small>
      </td>
      <td>
        <Badge state={shown} tone={one.waitsFor === null ? toneOf(shown) : 'warn'} />
      </td>
      <td class="wrap">
        <Progress of={one} isMoving={shown === 'running'} />
        {waits !== undefined && <p>Waits: {waits}</p>}
      </td>
      <td class="n">
        {!isOver(one) && (
          <div class="actions">
            <button type="button" onClick={() => void set(id, other)}>
              {other === 'pause' ? 'Pause' : 'Resume'}
              <span class="hidden"> {id}</span>
            </button>
            <button type="button" class="danger" onClick={() => cancel(id)}>
              Cancel<span class="hidden"> {id}</span> …
            </button>
          </div>
        )}
      </td>
    </tr>
  );
}

function What({ of: { namespaces, filter } }: { of: SnapshotStatus }): JSX.Element {
  const more = (namespaces?.length ?? 0) - SOME;
  return (
    <>
      {namespaces === null ? 'all that it follows' : namespaces.slice(0, SOME).join(', ')}
      {more > 0 && ` and ${count(more)} more`}
      {filter !== null && (
        <>
          {' '}
          where <code>{filter}</code>
        </>
      )}
    </>
  );
}

/** With a filter nobody knows of how many. */
function Progress({ of: one, isMoving }: { of: SnapshotStatus; isMoving: boolean }): JSX.Element {
  const { id, documents, collections, expectedDocuments: expected, reading, endedAt } = one;
  const delivered = plural(documents, 'document');
  if (isOver(one)) {
    return (
      <>
        {delivered}
        <br />
        <small>
          {plural(collections, 'collection')} done, until {time(endedAt)}
        </small>
      </>
    );
  }
  return (
    <>
      {expected !== null && (
        <progress aria-label={`Progress of ${id}`} max={Math.max(expected, documents, 1)} value={documents} />
      )}
      {delivered}
      {expected !== null && ` of about ${count(expected)}`}
      {isMoving && (
        <>
          {' '}
          · {perSecond(one.documentsPerSecond)}
          {one.secondsLeft !== null && ` · ${seconds(one.secondsLeft)} left`}
        </>
      )}
      <br />
      <small>
        {plural(collections, 'collection')} done
        {reading.length > 0 && `, reading ${reading.map(({ ns }) => ns).join(', ')}`}
      </small>
    </>
  );
}

/** Why one that shall go on does not: in the engine's words, or for what is to be seen of its subscription. */
function waitsFor(one: SnapshotStatus, all: readonly SnapshotStatus[]): string | undefined {
  if (one.state !== 'running') return undefined;
  if (one.waitsFor !== null) return one.waitsFor;
  const first = all.find(({ subscription, state }) => subscription === one.subscription && state === 'running');
  if (first && first.id !== one.id) return `${first.id} comes first.`;
  const its = status.value?.subscriptions[one.subscription]?.state ?? 'stopped';
  return its === 'flowing' || one.documentsPerSecond > 0 ? undefined : `its subscription is ${its}.`;
}

function isOver({ state }: SnapshotStatus): boolean {
  return state === 'done' || state === 'cancelled';
}

async function change(id: string, what: 'pause' | 'resume' | 'cancel'): Promise<void> {
  await api(`/snapshots/${encodeURIComponent(id)}/${what}`, { method: 'POST' });
  askNow();
}
