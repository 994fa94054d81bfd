/** Events that were set aside: found, looked into, delivered after all, or given up. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { PARK_REASONS } from '../../../src/worker/protocol.ts';
import { api, AskError } from '../api.ts';
import { bytes, count, plural, time } from '../format.ts';
import { href, place, search } from '../router.ts';
import { askNow, connection, status } from '../state.ts';
import type { Parked, ParkedDetail } from '../types.ts';
import { Confirm } from '../ui/confirm.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { Dialog, Empty, Failure, Heads, Json, Loading, Scroll, Title, numeric, unseen } from '../ui/parts.tsx';

const A_PAGE = 50;

interface ParkedPage {
  readonly parked: readonly Parked[];
  readonly next: string | null;
  readonly store: { readonly bytes: number; readonly maxBytes: number };
}

const FILTERS = ['subscription', 'reason', 'since', 'until'] as const;
type Filter = Partial<Record<(typeof FILTERS)[number], string>>;

export function ParkedEvents(): JSX.Element {
  const { query } = place.value;
  const filter: Filter = Object.fromEntries(FILTERS.flatMap((key) => (query.get(key) ? [[key, query.get(key)]] : [])));
  const key = new URLSearchParams(filter).toString();
  return <List key={key} filter={filter} asked={key} />;
}

function List({ filter, asked }: { filter: Filter; asked: string }): JSX.Element {
  const [pages, setPages] = useState<readonly ParkedPage[]>([]);
  const [error, setError] = useState<AskError>();
  const [round, setRound] = useState(0);
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const [shown, show] = useState<string>();
  const [work, setWork] = useState<'replay' | 'drop'>();
  const isThere = connection.value.kind === 'there';

  const load = async (after: string | null, signal?: AbortSignal): Promise<ParkedPage> =>
    api<ParkedPage>(
      `/parked?limit=${A_PAGE}${asked === '' ? '' : `&${asked}`}${after === null ? '' : `&after=${after}`}`,
      {
        ...(signal && { signal }),
      },
    );
  useEffect(() => {
    if (!isThere) return;
    const abort = new AbortController();
    load(null, abort.signal).then(
      (page) => {
        setPages([page]);
        setError(undefined);
        choose(new Set());
      },
      (failed: unknown) => {
        if (!abort.signal.aborted && failed instanceof AskError) setError(failed);
      },
    );
    return () => abort.abort();
  }, [round, isThere]);

  const all = pages.flatMap(({ parked }) => parked);
  const last = pages.at(-1);
  const more = async (): Promise<void> => {
    try {
      const page = await load(last?.next ?? null);
      setPages((before) => [...before, page]);
    } catch (failed) {
      if (failed instanceof AskError) setError(failed);
    }
  };
  return (
    <>
      <Title
        aside={
          all.length > 0 && (
            <>
              <button type="button" onClick={() => setWork('replay')}>
                Replay {chosen.size > 0 ? `${chosen.size} chosen` : 'these'} …
              </button>
              <button type="button" class="danger" onClick={() => setWork('drop')}>
                Drop {chosen.size > 0 ? `${chosen.size} chosen` : 'these'} …
              </button>
            </>
          )
        }
      >
        Parked events
      </Title>
      <Filters filter={filter} />
      {error && <Failure error={error} again={() => setRound((n) => n + 1)} />}
      {!last && !error && <Loading what="parked events" />}
      {last && (
        <p class="muted" role="status">
          {plural(all.length, 'event')} shown{last.next === null ? '' : ', there are more'} · the store holds{' '}
          {bytes(last.store.bytes)} of at most {bytes(last.store.maxBytes)}
        </p>
      )}
      {last && all.length === 0 && last.next === null && (
        <Empty title={asked === '' ? 'Nothing is parked.' : 'No parked event is like that.'}>
          {asked !== '' && <a href={href('parked')}>Show all</a>}
        </Empty>
      )}
      {all.length > 0 && (
        <Scroll label="Parked events">
          <table>
            <Heads
              of={[
                unseen('Chosen'),
                'Event',
                'Subscription',
                'Namespace',
                'Reason',
                'Detail',
                'Parked at',
                numeric('Size'),
              ]}
            />
            <tbody>
              {all.map((one) => (
                <tr key={one.id}>
                  <td>
                    <input
                      type="checkbox"
                      aria-label={`Choose ${one.event} of ${one.subscription}`}
                      checked={chosen.has(one.id)}
                      onChange={({ currentTarget: { checked } }) => {
                        const next = new Set(chosen);
                        if (checked) next.add(one.id);
                        else next.delete(one.id);
                        choose(next);
                      }}
                    />
                  </td>
                  <th scope="row">
                    <button type="button" class="link" onClick={() => show(one.id)}>
                      {one.event}
                    </button>
                  </th>
                  <td>
                    {one.configured ? (
                      <a href={href('subscriptions', one.subscription)}>{one.subscription}</a>
                    ) : (
                      `${one.subscription} (not configured)`
                    )}
                  </td>
                  <td>{one.ns}</td>
                  <td>
                    <a class="code" href={href('health', `parked-${one.reason}`)}>
                      {one.reason}
                    </a>
                  </td>
                  <td class="wrap">{one.detail}</td>
                  <td>{time(one.parkedAt)}</td>
                  <td class="n">{bytes(one.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {last && last.next !== null && (
        <p>
          <button type="button" onClick={() => void more()}>
            Show more
          </button>
        </p>
      )}
      {shown !== undefined && <Inside id={shown} close={() => show(undefined)} />}
      {work && (
        <Work
          kind={work}
          ids={[...chosen]}
          filter={filter}
          close={() => setWork(undefined)}
          done={() => setRound((n) => n + 1)}
        />
      )}
    </>
  );
}

function Filters({ filter }: { filter: Filter }): JSX.Element {
  const names = Object.keys(status.value?.subscriptions ?? {});
  const given = filter.subscription;
  const all = given === undefined || names.includes(given) ? names : [given, ...names];
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <label>
        Subscription
        <select value={given ?? ''} onChange={({ currentTarget }) => search({ subscription: currentTarget.value })}>
          <option value="">any</option>
          {all.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Reason
        <select value={filter.reason ?? ''} onChange={({ currentTarget }) => search({ reason: currentTarget.value })}>
          <option value="">any</option>
          {PARK_REASONS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      {(['since', 'until'] as const).map((key) => (
        <label key={key}>
          {key === 'since' ? 'Since' : 'Until'}
          <input
            value={filter[key] ?? ''}
            placeholder="2026-11-22T06:00Z or 7301:4"
            onChange={({ currentTarget }) => search({ [key]: currentTarget.value.trim() })}
          />
        </label>
      ))}
    </form>
  );
}

function Inside({ id, close }: { id: string; close: () => void }): JSX.Element {
  const { value, error } = useLoaded<ParkedDetail>(`/parked/${id}`);
  return (
    <Dialog title="A parked event" close={close} wide>
      {error && <Failure error={error} />}
      {!value && !error && <Loading what="it" />}
      {value && (
        <>
          <dl class="pairs">
            <dt>Event</dt>
            <dd>
              <code>{value.event}</code>
            </dd>
            <dt>Reason</dt>
            <dd>
              <a class="code" href={href('health', `parked-${value.reason}`)} onClick={close}>
                {value.reason}
              </a>{' '}
              {value.detail}
            </dd>
            <dt>Time</dt>
            <dd>{time(value.time)}</dd>
            <dt>Kind</dt>
            <dd>
              {value.kind}, {bytes(value.bytes)}
              {value.contentType === null ? '' : `, ${value.contentType}`}
            </dd>
            {value.message && (
              <>
                <dt>Routing key</dt>
                <dd>
                  <code>{value.message.routingKey}</code>
                </dd>
              </>
            )}
          </dl>
          <Content content={value.content} />
        </>
      )}
    </Dialog>
  );
}

function Content({ content }: { content: ParkedDetail['content'] }): JSX.Element {
  switch (content.kind) {
    case 'documents':
      return <Json label="Content" value={content.documents.length === 1 ? content.documents[0] : content.documents} />;
    case 'bytes':
      return (
        <pre class="json" tabIndex={0} role="region" aria-label="Content, base64">
          {content.base64}
          {content.truncated && ' …'}
        </pre>
      );
    case 'withheld':
      return <p class="note">Not shown: {content.why}</p>;
  }
}

interface Outcome {
  readonly replayed?: number;
  readonly dropped?: number;
  readonly kept?: readonly { readonly reason: string; readonly events: number; readonly detail?: string }[];
  readonly next: string | null;
}

interface WorkProps {
  readonly kind: 'replay' | 'drop';
  readonly ids: readonly string[];
  readonly filter: Filter;
  readonly close: () => void;
  readonly done: () => void;
}

/** First it is said what would become of them. */
function Work({ kind, ids, filter, close, done }: WorkProps): JSX.Element {
  const isChosen = ids.length > 0;
  const which = isChosen ? { ids } : filter;
  const isAll = !isChosen && Object.keys(filter).length === 0;
  const [trial, setTrial] = useState<Outcome>();
  const [error, setError] = useState<AskError>();
  useEffect(() => {
    api<Outcome>(`/parked/${kind}`, { method: 'POST', body: { ...which, dryRun: true } }).then(
      setTrial,
      (failed: unknown) => {
        if (failed instanceof AskError) setError(failed);
      },
    );
  }, []);
  const run = async (): Promise<void> => {
    let after: string | null = null;
    do {
      const body: object = {
        ...which,
        ...(kind === 'drop' && isAll && { all: true }),
        ...(after !== null && !isChosen && { after }),
      };
      const outcome: Outcome = await api<Outcome>(`/parked/${kind}`, { method: 'POST', body });
      after = outcome.next;
    } while (after !== null);
    askNow();
    done();
  };
  const would = trial?.replayed ?? trial?.dropped;
  return (
    <Confirm
      title={kind === 'replay' ? 'Replay parked events?' : 'Drop parked events?'}
      verb={kind === 'replay' ? 'Replay' : 'Drop for good'}
      isDanger={kind === 'drop'}
      isReady={would !== undefined && would > 0}
      work={run}
      close={close}
    >
      {error && <Failure error={error} />}
      {!trial && !error && <p role="status">Trying what would become of them …</p>}
      {trial && (
        <p>
          {kind === 'replay' ? (
            <>
              <b>{plural(would ?? 0, 'event')}</b> would be delivered by what is configured now, out of order and marked
              as replayed{trial.next === null ? '' : ', and there are more'}.
            </>
          ) : (
            <>
              <b>{plural(would ?? 0, 'event')}</b>
              {trial.next === null ? '' : ' and more'} would be given up <b>for good</b>: nobody gets them any more.
            </>
          )}
        </p>
      )}
      {(trial?.kept?.length ?? 0) > 0 && (
        <>
          <p>These stay parked:</p>
          <ul>
            {trial?.kept?.map(({ reason, events, detail }) => (
              <li key={reason}>
                {count(events)} for {reason}
                {detail === undefined ? '' : `: ${detail}`}
              </li>
            ))}
          </ul>
        </>
      )}
    </Confirm>
  );
}
