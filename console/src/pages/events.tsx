/**
 * Events as they are delivered, live. Invariants: the page holds at most so many; pausing stops the view and the asking, so that the engine has
 * nothing to do for a view that nobody reads; leaving the page ends it.
 */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { DATA_OPERATIONS, DDL_OPERATIONS } from '../../../src/config/operations.ts';
import { AskError, open } from '../api.ts';
import { bytes, count } from '../format.ts';
import { href, place, search } from '../router.ts';
import { connection, status } from '../state.ts';
import type { WatchedEvent } from '../types.ts';
import { EventReader } from '../ui/event-reader.ts';
import { Empty, Failure, Heads, Json, Scroll, Title, numeric } from '../ui/parts.tsx';

const MOST_KEPT = 500;
/** More would be drawn than anybody sees. */
const DRAW_MS = 200;
const AGAIN_MS = 2_000;
const FILTERS = ['subscription', 'ns', 'op'] as const;

interface Seen extends WatchedEvent {
  readonly key: number;
  readonly at: Date;
}

interface LeftOut {
  readonly overRate: number;
  readonly slowReader: number;
}

const clock = new Intl.DateTimeFormat('sv-SE', { timeStyle: 'medium' });

export function Events(): JSX.Element {
  const { query } = place.value;
  const asked = new URLSearchParams(
    FILTERS.flatMap((key) => (query.get(key) ? [[key, query.get(key) ?? '']] : [])),
  ).toString();
  const [isPaused, setPaused] = useState(false);
  const { seen, leftOut, error, isOpen, clear } = useEvents(asked, isPaused);
  const [chosen, choose] = useState<Seen>();
  return (
    <>
      <Title
        aside={
          <>
            <button type="button" class={isPaused ? 'primary' : ''} onClick={() => setPaused(!isPaused)}>
              {isPaused ? 'Go on' : 'Pause'}
            </button>
            <button
              type="button"
              onClick={() => {
                clear();
                choose(undefined);
              }}
            >
              Clear
            </button>
          </>
        }
      >
        Events live
      </Title>
      <Filters />
      {error && <Failure error={error} />}
      <p class="muted" role="status">
        {isPaused ? 'Paused.' : isOpen ? 'Watching.' : error ? '' : 'Opening …'} {count(seen.length)} shown
        {leftOut.overRate > 0 && `; ${count(leftOut.overRate)} more came than are shown in a second`}
        {leftOut.slowReader > 0 && `; ${count(leftOut.slowReader)} left out, since this page was too slow`}
      </p>
      {seen.length === 0 && !error && (
        <Empty
          title={
            isPaused
              ? 'Paused: nothing is asked for.'
              : 'Nothing that is like that has been delivered since the page was opened.'
          }
        />
      )}
      {seen.length > 0 && (
        <div class={chosen ? 'split' : ''}>
          <Scroll label="Events">
            <table>
              <Heads of={['Seen', 'Event', 'Operation', 'Namespace', 'Subscription', 'Routing key', numeric('Size')]} />
              <tbody>
                {seen.map((one) => (
                  <tr key={one.key} class={one.key === chosen?.key ? 'chosen' : ''}>
                    <td>{clock.format(one.at)}</td>
                    <th scope="row">
                      <button
                        type="button"
                        class="link"
                        aria-pressed={one.key === chosen?.key}
                        onClick={() => choose(one.key === chosen?.key ? undefined : one)}
                      >
                        {one.id}
                      </button>
                    </th>
                    <td>{one.operationType}</td>
                    <td>{one.ns}</td>
                    <td>
                      <a href={href('subscriptions', one.subscription)}>{one.subscription}</a>
                      {one.held !== null && <small class="muted"> held</small>}
                    </td>
                    <td>{one.routingKey}</td>
                    <td class="n">{bytes(one.bytes)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
          {chosen && <Inside event={chosen} close={() => choose(undefined)} />}
        </div>
      )}
    </>
  );
}

function Inside({ event, close }: { event: Seen; close: () => void }): JSX.Element {
  return (
    <section class="card inside" aria-label="The event">
      <header>
        <h2>{event.operationType}</h2>
        <button type="button" class="plain" aria-label="Close the event" onClick={close}>
          ✕
        </button>
      </header>
      {event.held !== null && (
        <p class="note bad">
          Its lane does not let it go: <a href={href('health', `held-${event.held}`)}>held-{event.held}</a>
        </p>
      )}
      {event.beginning !== null && <p class="muted">Too large to be shown whole; its beginning:</p>}
      {event.beginning === null ? (
        <Json label="Content of the event" value={event.event} />
      ) : (
        <pre class="json" tabIndex={0} role="region" aria-label="Beginning of the event">
          {event.beginning}
        </pre>
      )}
      {Object.keys(event.headers).length > 0 && <Json label="Headers" value={event.headers} />}
    </section>
  );
}

function Filters(): JSX.Element {
  const { query } = place.value;
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <label>
        Subscription
        <select
          value={query.get('subscription') ?? ''}
          onChange={({ currentTarget }) => search({ subscription: currentTarget.value })}
        >
          <option value="">any</option>
          {Object.keys(status.value?.subscriptions ?? {}).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Namespace
        <input
          value={query.get('ns') ?? ''}
          placeholder="shop.*"
          onChange={({ currentTarget }) => search({ ns: currentTarget.value.trim() })}
        />
      </label>
      <label>
        Operation
        <select value={query.get('op') ?? ''} onChange={({ currentTarget }) => search({ op: currentTarget.value })}>
          <option value="">any</option>
          {[...DATA_OPERATIONS, ...DDL_OPERATIONS].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
    </form>
  );
}

interface Watch {
  /** The newest first. */
  readonly seen: readonly Seen[];
  readonly leftOut: LeftOut;
  readonly error: AskError | undefined;
  readonly isOpen: boolean;
  readonly clear: () => void;
}

const NONE: LeftOut = { overRate: 0, slowReader: 0 };

function useEvents(asked: string, isPaused: boolean): Watch {
  const [seen, setSeen] = useState<readonly Seen[]>([]);
  const [leftOut, setLeftOut] = useState(NONE);
  const [error, setError] = useState<AskError>();
  const [isOpen, setOpen] = useState(false);
  const [round, setRound] = useState(0);
  const keys = useRef(0);
  const isThere = connection.value.kind === 'there';
  const clear = (): void => {
    setSeen([]);
    setLeftOut(NONE);
  };
  useEffect(clear, [asked]);
  useEffect(() => {
    if (isPaused || !isThere) return;
    const abort = new AbortController();
    let fresh: Seen[] = [];
    const drawing = setInterval(() => {
      if (fresh.length === 0 || document.hidden) return;
      const some = fresh;
      fresh = [];
      setSeen((before) => [...some.toReversed(), ...before].slice(0, MOST_KEPT));
    }, DRAW_MS);
    let again: ReturnType<typeof setTimeout> | undefined;
    let isWrong = false;
    const told = (event: string, data: string): void => {
      if (event === 'skipped') {
        const more = JSON.parse(data) as LeftOut;
        setLeftOut((before) => ({
          overRate: before.overRate + more.overRate,
          slowReader: before.slowReader + more.slowReader,
        }));
      } else if (event === '') {
        keys.current += 1;
        fresh.push({ ...(JSON.parse(data) as WatchedEvent), key: keys.current, at: new Date() });
        if (fresh.length > MOST_KEPT) fresh.shift();
      }
    };
    watch(asked, abort.signal, () => setOpen(true), told)
      .then(
        () => setError(undefined),
        (failed: unknown) => {
          isWrong = failed instanceof AskError && failed.code === 'api-bad-request';
          if (!abort.signal.aborted) setError(failed instanceof AskError ? failed : new AskError(String(failed)));
        },
      )
      .finally(() => {
        setOpen(false);
        // What was asked wrongly stays wrong; an engine that was stopped comes back.
        if (!abort.signal.aborted && !isWrong) again = setTimeout(() => setRound((n) => n + 1), AGAIN_MS);
      });
    return () => {
      abort.abort();
      clearInterval(drawing);
      clearTimeout(again);
      setError(undefined);
    };
  }, [asked, isPaused, isThere, round]);
  return { seen, leftOut, error, isOpen, clear };
}

async function watch(
  asked: string,
  signal: AbortSignal,
  opened: () => void,
  told: (event: string, data: string) => void,
): Promise<void> {
  const response = await open(`/events${asked === '' ? '' : `?${asked}`}`, signal);
  opened();
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  const lines = new EventReader();
  for (;;) {
    const part = await reader?.read();
    if (!part || part.done) return;
    for (const { event, data } of lines.take(part.value)) told(event, data);
  }
}
