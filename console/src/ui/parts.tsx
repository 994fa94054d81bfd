/** The small parts that every page is made of. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { AskError } from '../api.ts';
import { href } from '../router.ts';

export type Tone = 'ok' | 'warn' | 'bad' | 'idle';

const TONES: Readonly<Record<string, Tone>> = {
  reading: 'ok',
  connected: 'ok',
  flowing: 'ok',
  running: 'ok',
  held: 'bad',
  blocked: 'bad',
  stopped: 'bad',
  position_lost: 'bad',
  connecting: 'warn',
  reconnecting: 'warn',
  starting: 'warn',
  paused: 'idle',
  unused: 'idle',
};

export function toneOf(state: string): Tone {
  return TONES[state] ?? 'idle';
}

/** A colour never says anything alone: the word is there. */
export function Badge({ state, tone = toneOf(state) }: { state: string; tone?: Tone }): JSX.Element {
  return (
    <span class={`badge ${tone}`}>
      <i aria-hidden="true" />
      {state.replaceAll('_', ' ')}
    </span>
  );
}

interface CardProps {
  readonly title?: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Card({ title, aside, class: more = '', children }: CardProps): JSX.Element {
  return (
    <section class={`card ${more}`}>
      {title !== undefined && (
        <header>
          <h2>{title}</h2>
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

interface StatProps {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
  readonly tone?: Tone;
}

export function Stat({ label, value, note, tone }: StatProps): JSX.Element {
  return (
    <div class={`stat ${tone ?? ''}`}>
      <dt>{label}</dt>
      <dd>
        <b>{value}</b>
        {note !== undefined && <small>{note}</small>}
      </dd>
    </div>
  );
}

/** Page headings take the focus when one comes here, so that a screen reader begins there. */
export function Title({ children, aside }: { children: ComponentChildren; aside?: ComponentChildren }): JSX.Element {
  return (
    <header class="title">
      <h1 tabIndex={-1}>{children}</h1>
      {aside !== undefined && <div class="actions">{aside}</div>}
    </header>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <p>
        <b>{title}</b>
      </p>
      {children}
    </div>
  );
}

export function Failure({ error, again }: { error: AskError; again?: () => void }): JSX.Element {
  return (
    <div class="note bad" role="alert">
      <p>
        <b>{error.message}</b>{' '}
        {error.code !== undefined && <a href={href('health', error.code)}>What to do about {error.code}</a>}
      </p>
      {error.problem?.faults !== undefined && (
        <ul>
          {error.problem.faults.map(({ path, expected }) => (
            <li key={path}>
              <code>{path}</code>: {expected}
            </li>
          ))}
        </ul>
      )}
      {again !== undefined && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Loading({ what }: { what: string }): JSX.Element {
  return (
    <p class="loading" role="status">
      Asking for {what} …
    </p>
  );
}

export function Json({ value, label }: { value: unknown; label: string }): JSX.Element {
  return (
    <pre class="json" tabIndex={0} role="region" aria-label={label}>
      {JSON.stringify(value, undefined, 2)}
    </pre>
  );
}

/** Wide tables move by themselves, by keyboard too. */
export function Scroll({ label, children }: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

interface DialogProps {
  readonly title: string;
  readonly close: () => void;
  readonly children: ComponentChildren;
  readonly wide?: boolean;
}

/** The browser's own: it keeps the focus inside, closes on Escape, and gives the focus back. */
export function Dialog({ title, close, children, wide = false }: DialogProps): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    ref.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide ? 'wide' : ''}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
    >
      <header>
        <h2 id="dialog-title">{title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={close}>
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** As links; a dash where there is none. */
export function Names({ page, names }: { page: string; names: readonly string[] }): JSX.Element {
  if (names.length === 0) return <>–</>;
  return (
    <>
      {names.map((name, n) => (
        <>
          {n > 0 && ', '}
          <a href={href(page, name)}>{name}</a>
        </>
      ))}
    </>
  );
}

/** Of a column: its head, of numbers to the right, or for a screen reader alone. */
export interface Head {
  readonly text: string;
  readonly kind: 'number' | 'unseen';
}

export function numeric(text: string): Head {
  return { text, kind: 'number' };
}

export function unseen(text: string): Head {
  return { text, kind: 'unseen' };
}

/** A table's first row. */
export function Heads({ of }: { of: readonly (string | Head)[] }): JSX.Element {
  return (
    <thead>
      <tr>
        {of.map((one) => {
          const text = typeof one === 'string' ? one : one.text;
          const kind = typeof one === 'string' ? undefined : one.kind;
          return (
            <th key={text} scope="col" class={kind === 'number' ? 'n' : undefined}>
              {kind === 'unseen' ? <span class="hidden">{text}</span> : text}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}
