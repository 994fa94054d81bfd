/** Who manages what there is: the file, or whoever is here. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { api } from '../api.ts';
import { go, href } from '../router.ts';
import { askNow, revision } from '../state.ts';
import type { Definitions, Kind } from '../types.ts';
import { Confirm } from './confirm.tsx';
import { useLoaded } from './loaded.ts';

function useDefinitions(): Definitions | undefined {
  return useLoaded<Definitions>('/definitions').value;
}

export function AddButton({ kind }: { kind: Kind }): JSX.Element | null {
  const definitions = useDefinitions();
  if (!definitions) return null;
  if (definitions.management === 'file') return <ByFile />;
  return (
    <a class="button primary" href={href('add', kind)}>
      Add a {kind}
    </a>
  );
}

export function ChangeButtons({ kind, name }: { kind: Kind; name: string }): JSX.Element | null {
  const definitions = useDefinitions();
  const [isAsking, setAsking] = useState(false);
  if (!definitions) return null;
  if (definitions.management === 'file') return <ByFile />;
  return (
    <>
      <a class="button" href={href('change', kind, { name })}>
        Change
      </a>
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        Remove …
      </button>
      {isAsking && (
        <Confirm
          title={`Remove ${name}?`}
          verb="Remove"
          isDanger
          close={() => setAsking(false)}
          work={async () => {
            await api(`/${kind}s/${encodeURIComponent(name)}?${changedBy()}`, { method: 'DELETE' });
            revision.value += 1;
            askNow();
            go(href(`${kind}s`));
          }}
        >
          {kind === 'subscription' ? (
            <p>
              Nothing more of it is delivered, and its checkpoint goes with it: one of its name begins anew. Its queues
              and its parked events stay. The others go on.
            </p>
          ) : (
            <p>It is removed where no subscription needs it.</p>
          )}
        </Confirm>
      )}
    </>
  );
}

function ByFile(): JSX.Element {
  return <span class="muted">managed by the file</span>;
}

const WHO_KEY = 'tailrace-who';

/** What somebody has called themselves, for the history of changes. */
export function who(): string {
  return localStorage.getItem(WHO_KEY) ?? '';
}

/** For a query; the history shall say at least where from. */
export function changedBy(): string {
  return new URLSearchParams({ by: who() || 'console' }).toString();
}

export function callMe(name: string): void {
  localStorage.setItem(WHO_KEY, name);
}
