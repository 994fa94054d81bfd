/**
 * A source, a sink or a subscription is added or changed: every setting that there is, checked by the engine as it is typed, tried before it
 * is saved. Nothing is checked here that the engine checks: the two could not but differ one day.
 */
import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { go, href } from '../router.ts';
import { askNow, revision } from '../state.ts';
import type { Definitions, Kind } from '../types.ts';
import { Fields, JsonInput } from '../ui/field.tsx';
import type { Fault } from '../ui/field.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { callMe, who } from '../ui/managed.tsx';
import { Card, Empty, Failure, Loading, Title } from '../ui/parts.tsx';
import { isMapping, settingsOf } from '../ui/settings.ts';
import type { Mapping, Schema, Setting } from '../ui/settings.ts';
import { Trial } from './trial.tsx';

const CHECK_MS = 300;

/** What nearly everybody sets; the rest is behind a heading. */
const FIRST: Readonly<Record<Kind, readonly string[]>> = {
  source: ['uri', 'mode', 'start', 'onPositionLost'],
  sink: ['uri', 'declare', 'window'],
  subscription: ['source', 'namespaces', 'operations', 'format', 'to'],
};

interface Document {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export function Editor({ kind, name }: { kind: string; name: string | undefined }): JSX.Element {
  const { value: document, error } = useLoaded<Document>('/openapi.json');
  const { value: definitions, error: other } = useLoaded<Definitions>('/definitions');
  const isChange = name !== undefined;
  if (!isKind(kind)) return <Empty title="There is nothing of that kind." />;
  const title = (
    <Title>
      <span class="muted">
        <a href={href(`${kind}s`)}>{kind[0]?.toUpperCase() + kind.slice(1)}s</a> /
      </span>{' '}
      {isChange ? `Change ${name}` : `Add a ${kind}`}
    </Title>
  );
  const failed = error ?? other;
  if (failed)
    return (
      <>
        {title}
        <Failure error={failed} />
      </>
    );
  if (!document || !definitions)
    return (
      <>
        {title}
        <Loading what="what there is" />
      </>
    );
  if (definitions.management === 'file') {
    return (
      <>
        {title}
        <p class="note">
          Definitions are the file’s here (<code>management: file</code>): edit it and start the engine again, or choose{' '}
          <code>management: online</code>.
        </p>
      </>
    );
  }
  const before = isChange ? written(definitions, kind, name) : {};
  if (!before)
    return (
      <>
        {title}
        <Empty title={`There is no ${kind} “${name}”.`} />
      </>
    );
  const schema = document.components.schemas[`${kind[0]?.toUpperCase()}${kind.slice(1)}Configuration`] ?? {};
  return (
    <>
      {title}
      <Form key={`${kind} ${name}`} kind={kind} name={name} before={before} schema={schema} definitions={definitions} />
    </>
  );
}

interface FormProps {
  readonly kind: Kind;
  readonly name: string | undefined;
  readonly before: Mapping;
  readonly schema: Schema;
  readonly definitions: Definitions;
}

function Form({ kind, name: fixed, before, schema, definitions }: FormProps): JSX.Element {
  const [name, setName] = useState(fixed ?? '');
  const [configuration, configure] = useState<Mapping>(before);
  const [start, setStart] = useState('');
  const [by, setBy] = useState(who());
  const [isJson, setJson] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  /** Nobody is told of what is missing before they have come to it. */
  const [isTold, tell] = useState(fixed !== undefined);
  const faults = useFaults(kind, name, configuration);
  const summary = useRef<HTMLDivElement>(null);
  const [first, rest] = useMemo(() => {
    const all = settingsOf(schema).filter((one) => one.name !== 'name');
    const isFirst = (one: Setting): boolean => FIRST[kind].includes(one.name);
    return [
      FIRST[kind].flatMap((wanted) => all.filter((one) => one.name === wanted)),
      all.filter((one) => !isFirst(one)),
    ];
  }, [schema, kind]);
  const names = { source: Object.keys(definitions.sources), 'to.sink': Object.keys(definitions.sinks) };
  const shown =
    isTold || Object.keys(configuration).length > 0
      ? (faults ?? []).filter(({ path }) => isTold || touches(configuration, path))
      : [];
  const hasRest = rest.some((one) => one.name in configuration);
  const save = async (): Promise<void> => {
    tell(true);
    setError(undefined);
    if (name === '' || (faults?.length ?? 0) > 0) {
      summary.current?.focus();
      return;
    }
    setBusy(true);
    const body = {
      ...(fixed === undefined && { name }),
      configuration,
      by: by === '' ? 'console' : by,
      ...(kind === 'subscription' && start !== '' && { start }),
    };
    try {
      callMe(by);
      await api(fixed === undefined ? `/${kind}s` : `/${kind}s/${encodeURIComponent(fixed)}`, {
        method: fixed === undefined ? 'POST' : 'PUT',
        body,
      });
      revision.value += 1;
      askNow();
      go(href(`${kind}s`, name));
    } catch (failed) {
      setError(failed instanceof AskError ? failed : new AskError(String(failed)));
      setBusy(false);
    }
  };
  return (
    <form
      class="editor"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <div ref={summary} tabIndex={-1} role="status" class="summary">
        {isTold && name === '' && <p class="note bad">A name is needed.</p>}
        {shown.length > 0 && (
          <div class="note bad">
            <b>Not yet as it should be:</b>
            <ul>
              {shown.map(({ path, expected }) => (
                <li key={path + expected}>
                  {path !== '' && <code>{path}</code>} {expected}
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
      <Card
        title="What it is"
        aside={
          <fieldset class="segments">
            <legend class="hidden">How it is written</legend>
            {(['Fields', 'JSON'] as const).map((how) => (
              <label key={how}>
                <input
                  type="radio"
                  name="how"
                  checked={(how === 'JSON') === isJson}
                  onChange={() => setJson(how === 'JSON')}
                />
                <span>{how}</span>
              </label>
            ))}
          </fieldset>
        }
      >
        {fixed === undefined && (
          <div class="field">
            <label class="label" for="field-name">
              name <small>needed</small>
            </label>
            <input
              id="field-name"
              value={name}
              spellcheck={false}
              autocomplete="off"
              aria-required="true"
              aria-describedby="field-name-help"
              onInput={({ currentTarget }) => setName(currentTarget.value.trim())}
            />
            <p class="help" id="field-name-help">
              Letters, digits, _ and -. It stays what it is.
            </p>
          </div>
        )}
        {isJson ? (
          <div class="field">
            <label class="label" for="field-json">
              configuration
            </label>
            <JsonInput
              about={{ id: 'field-json' }}
              value={configuration}
              unsaid=""
              rows={16}
              change={(next) => {
                if (isMapping(next)) configure(next);
              }}
            />
          </div>
        ) : (
          <>
            <Fields settings={first} value={configuration} faults={shown} names={names} change={configure} />
            <details open={hasRest}>
              <summary>All other settings</summary>
              <div class="stack">
                <Fields settings={rest} value={configuration} faults={shown} names={names} change={configure} />
              </div>
            </details>
          </>
        )}
      </Card>
      {kind === 'subscription' && (
        <Card title="Where it begins">
          <div class="field">
            <label class="label" for="field-begin">
              begin at
            </label>
            <input
              id="field-begin"
              value={start}
              placeholder={fixed === undefined ? 'where its source says' : 'where it stands'}
              aria-describedby="field-begin-help"
              onInput={({ currentTarget }) => setStart(currentTarget.value.trim())}
            />
            <p class="help" id="field-begin-help">
              latest, earliest, a date such as 2026-11-22T06:00:00Z, or seconds:increment of the oplog.
              {fixed !== undefined && ' A leap forward leaves a gap record.'}
            </p>
          </div>
        </Card>
      )}
      <Trial kind={kind} name={fixed} configuration={configuration} isSound={faults?.length === 0} />
      {error && <Failure error={error} />}
      <div class="ending">
        <label class="inline">
          Changed by{' '}
          <input value={by} placeholder="for the history" onInput={({ currentTarget }) => setBy(currentTarget.value)} />
        </label>
        <a class="button" href={href(`${kind}s`, fixed)}>
          Cancel
        </a>
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? 'Under way …' : fixed === undefined ? `Add ${kind}` : 'Save'}
        </button>
      </div>
    </form>
  );
}

/** Undefined until the engine has said something. */
function useFaults(kind: Kind, name: string, configuration: Mapping): readonly Fault[] | undefined {
  const [faults, setFaults] = useState<readonly Fault[]>();
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      api<{ faults: Fault[] }>('/definitions/check', {
        method: 'POST',
        body: { kind, name: name === '' ? 'new' : name, configuration },
        signal: abort.signal,
      }).then(
        (answer) => setFaults(answer.faults),
        () => {
          // Saving says what is wrong.
        },
      );
    }, CHECK_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [kind, name, configuration]);
  return faults;
}

/** Whether something was said where the fault is. */
function touches(configuration: Mapping, path: string): boolean {
  let at: unknown = configuration;
  for (const step of path.split(/[.[\]]+/).filter((one) => one !== '')) {
    if (Array.isArray(at)) at = at[Number(step)];
    else if (isMapping(at) && step in at) at = at[step];
    else return false;
  }
  return true;
}

function written({ sources, sinks, subscriptions }: Definitions, kind: Kind, name: string): Mapping | undefined {
  switch (kind) {
    case 'source':
      return sources[name];
    case 'sink':
      return sinks[name];
    case 'subscription': {
      const one = subscriptions.find((subscription) => subscription.name === name);
      if (!one) return undefined;
      const { name: own, ...rest } = one;
      void own;
      return rest;
    }
  }
}

function isKind(kind: string): kind is Kind {
  return kind === 'source' || kind === 'sink' || kind === 'subscription';
}
