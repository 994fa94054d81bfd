/**
 * Asks for a snapshot: of a subscription that can have one, whole or in part. What is wrong with it, the engine says. Invariant: nothing is
 * sent as less than was typed, which would ask for more documents than somebody meant.
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { askNow, status } from '../state.ts';
import type { Source } from '../types.ts';
import { Confirm } from '../ui/confirm.tsx';
import { Fields } from '../ui/field.tsx';
import type { Fault } from '../ui/field.tsx';
import { useLoaded } from '../ui/loaded.ts';
import type { Mapping, Setting, Shape } from '../ui/settings.ts';

/** `to`: to this one; else it is chosen. Nothing where none reads an oplog. */
export function AddSnapshot({ to }: { to?: string }): JSX.Element | null {
  const [isAsking, setAsking] = useState(false);
  const able = useAble().filter((name) => to === undefined || name === to);
  if (able.length === 0) return null;
  return (
    <>
      <button type="button" class={to === undefined ? 'primary' : ''} onClick={() => setAsking(true)}>
        Add a snapshot …
      </button>
      {isAsking && <Form to={to} able={able} close={() => setAsking(false)} />}
    </>
  );
}

/** Subscriptions whose source reads an oplog: no other has positions to put a snapshot between. */
function useAble(): readonly string[] {
  const { value } = useLoaded<{ readonly sources: readonly Source[] }>('/sources');
  const sources = value?.sources.filter(({ configuration: { mode } }) => mode !== 'changeStream') ?? [];
  const names = new Set(sources.map(({ name }) => name));
  return Object.entries(status.value?.subscriptions ?? {}).flatMap(([name, { source }]) =>
    names.has(source) ? [name] : [],
  );
}

const SUBSCRIPTION = setting(
  'subscription',
  { kind: 'text' },
  'Whose collections are read, and where they are delivered.',
);
const PART = [
  setting(
    'namespaces',
    { kind: 'lines' },
    'Patterns over "db.coll": only these of its collections. Empty: all that it follows.',
  ),
  setting(
    'filter',
    { kind: 'text' },
    'A query in Extended JSON, such as {"status": "open"}: only documents that match. Empty: all.',
  ),
];

function setting(name: string, shape: Shape, description: string): Setting {
  return { name, path: name, description, usual: undefined, isRequired: name === 'subscription', shape };
}

interface FormProps {
  readonly to: string | undefined;
  readonly able: readonly string[];
  readonly close: () => void;
}

function Form({ to, able, close }: FormProps): JSX.Element {
  const [asked, ask] = useState<Mapping>({ subscription: able.length === 1 ? able[0] : undefined });
  const [faults, setFaults] = useState<readonly Fault[]>([]);
  return (
    <Confirm
      title={to === undefined ? 'Add a snapshot' : `Add a snapshot to ${to}`}
      verb="Add"
      close={close}
      work={async () => {
        setFaults([]);
        try {
          await api('/snapshots', { method: 'POST', body: { ...asked, filter: parsed(asked['filter']) } });
        } catch (failed) {
          const found = failed instanceof AskError ? failed.problem?.faults : undefined;
          setFaults(found?.map(({ path, expected }) => ({ path: path.replace(/^body\./, ''), expected })) ?? []);
          throw failed;
        }
        askNow();
      }}
    >
      <Fields
        settings={to === undefined ? [SUBSCRIPTION, ...PART] : PART}
        value={asked}
        faults={faults}
        names={{ subscription: able }}
        change={(next) => {
          ask(next);
          setFaults([]);
        }}
      />
    </Confirm>
  );
}

/** What is no JSON goes as it is: the engine says what it expects. */
function parsed(filter: unknown): unknown {
  if (typeof filter !== 'string') return undefined;
  try {
    return JSON.parse(filter);
  } catch {
    return filter;
  }
}
