/** The console: what is around the pages, and which page is shown. */
import { render } from 'preact';
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { setToken } from './api.ts';
import { seconds, time } from './format.ts';
import { href, place } from './router.ts';
import type { Place } from './router.ts';
import { askNow, connection, health, isReady, keepAsking, status } from './state.ts';
import { Changes } from './pages/changes.tsx';
import { CheckpointPage } from './pages/checkpoint.tsx';
import { Editor } from './pages/editor.tsx';
import { Events } from './pages/events.tsx';
import { CodePageView, HealthPage } from './pages/health.tsx';
import { Missing } from './pages/missing.tsx';
import { Overview } from './pages/overview.tsx';
import { ParkedEvents } from './pages/parked.tsx';
import { SinkPage, Sinks } from './pages/sinks.tsx';
import { Snapshots } from './pages/snapshots.tsx';
import { SourcePage, Sources } from './pages/sources.tsx';
import { SubscriptionPage } from './pages/subscription.tsx';
import { Subscriptions } from './pages/subscriptions.tsx';
import { theme, THEMES } from './ui/theme.ts';

interface Page {
  readonly id: string;
  readonly label: string;
  readonly show: (at: Place) => JSX.Element;
}

const PAGES: readonly Page[] = [
  { id: 'overview', label: 'Overview', show: () => <Overview /> },
  {
    id: 'sources',
    label: 'Sources',
    show: ({ name }) => (name === undefined ? <Sources /> : <SourcePage key={name} name={name} />),
  },
  {
    id: 'sinks',
    label: 'Sinks',
    show: ({ name }) => (name === undefined ? <Sinks /> : <SinkPage key={name} name={name} />),
  },
  {
    id: 'subscriptions',
    label: 'Subscriptions',
    show: ({ name }) => (name === undefined ? <Subscriptions /> : <SubscriptionPage key={name} name={name} />),
  },
  { id: 'snapshots', label: 'Snapshots', show: () => <Snapshots /> },
  { id: 'events', label: 'Events live', show: () => <Events /> },
  { id: 'parked', label: 'Parked', show: () => <ParkedEvents /> },
  { id: 'checkpoint', label: 'Checkpoint', show: () => <CheckpointPage /> },
  { id: 'changes', label: 'Changes', show: () => <Changes /> },
  {
    id: 'health',
    label: 'Health',
    show: ({ name }) => (name === undefined ? <HealthPage /> : <CodePageView key={name} code={name} />),
  },
];

/** Nothing to begin with, so they are not in the menu. */
const FORMS: readonly Page[] = [
  { id: 'add', label: 'Add', show: ({ name = '' }) => <Editor key={name} kind={name} name={undefined} /> },
  {
    id: 'change',
    label: 'Change',
    show: ({ name = '', query }) => <Editor key={name} kind={name} name={query.get('name') ?? ''} />,
  },
];

function App(): JSX.Element {
  const at = place.value;
  const page = [...PAGES, ...FORMS].find(({ id }) => id === at.page);
  // A form belongs to the list that it leads back to.
  const current = page && FORMS.includes(page) ? `${at.name}s` : page?.id;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const label = page?.label ?? 'No such page';
  useEffect(() => {
    document.title = `${at.name === undefined ? '' : `${at.name} · `}${label} · Tailrace`;
    if (isFirst.current) isFirst.current = false;
    else {
      scrollTo(0, 0);
      main.current?.querySelector('h1')?.focus();
    }
  }, [at.page, at.name]);
  const { value: now } = connection;
  const isIn = now.kind !== 'unauthorized' && now.kind !== 'closed';
  return (
    <div class="shell">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <aside>
        <a class="brand" href={href('overview')}>
          <span aria-hidden="true">≋</span> Tailrace
        </a>
        <nav aria-label="Pages">
          <ul>
            {PAGES.map(({ id, label }) => (
              <li key={id}>
                <a href={href(id)} aria-current={current === id ? 'page' : undefined}>
                  {label}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <Foot />
      </aside>
      <main id="main" ref={main} tabIndex={-1}>
        <Banner />
        {isIn ? (
          page ? (
            page.show(at)
          ) : (
            <Missing />
          )
        ) : now.kind === 'unauthorized' ? (
          <AskToken wasWrong={now.wasWrong} />
        ) : (
          <Closed why={now.why} />
        )}
      </main>
    </div>
  );
}

function Foot(): JSX.Element {
  const report = status.value;
  return (
    <footer>
      <p class={`light ${health.value === undefined ? 'idle' : isReady.value ? 'ok' : 'bad'}`}>
        <i aria-hidden="true" />
        {health.value === undefined ? 'not known yet' : isReady.value ? 'ready' : 'not ready'}
      </p>
      {report && (
        <p class="muted">
          {report.version} · up {seconds(report.uptimeSeconds)}
        </p>
      )}
      <label>
        <span class="hidden">Colours</span>
        <select
          value={theme.value}
          onChange={({ currentTarget: { value } }) => (theme.value = THEMES.find((one) => one === value) ?? 'system')}
        >
          <option value="system">System colours</option>
          <option value="light">Light</option>
          <option value="dark">Dark</option>
        </select>
      </label>
      <p>
        <a href="../api/v1/docs">API</a> · <a href="../metrics">Metrics</a>
      </p>
    </footer>
  );
}

/** The engine is gone: what is shown is old, and since when. It goes by itself. */
function Banner(): JSX.Element {
  const { value: now } = connection;
  return (
    <div class="live" role="status" aria-live="polite">
      {now.kind === 'gone' && (
        <p class="banner">
          <b>The engine does not answer.</b>{' '}
          {now.since === undefined ? now.why : `What is shown is of ${time(new Date(now.since).toISOString())}.`} It is
          asked again every second.
        </p>
      )}
    </div>
  );
}

function AskToken({ wasWrong }: { wasWrong: boolean }): JSX.Element {
  const [token, write] = useState('');
  return (
    <form
      class="gate"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.trim() === '') return;
        setToken(token.trim());
        askNow();
      }}
    >
      <h1 tabIndex={-1}>Token</h1>
      <p>
        This engine asks for the token that `http.token` is in its configuration. It is kept as long as this tab is
        open.
      </p>
      <label>
        Token
        <input
          type="password"
          autocomplete="current-password"
          value={token}
          aria-invalid={wasWrong}
          aria-describedby="token-fault"
          onInput={({ currentTarget }) => write(currentTarget.value)}
        />
      </label>
      <p id="token-fault" class="fault" role="alert">
        {wasWrong ? 'That is not the token.' : ''}
      </p>
      <button type="submit" class="primary" disabled={token.trim() === ''}>
        Go on
      </button>
    </form>
  );
}

function Closed({ why }: { why: string }): JSX.Element {
  return (
    <div class="gate">
      <h1 tabIndex={-1}>Closed</h1>
      <p>{why}</p>
    </div>
  );
}

const root = document.querySelector('#app');
if (root) {
  root.replaceChildren();
  render(<App />, root);
}
void keepAsking();
