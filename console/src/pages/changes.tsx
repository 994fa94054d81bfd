/** Who changed what, and when; and the way back to any version. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { count, time } from '../format.ts';
import { askNow, revision } from '../state.ts';
import type { Definitions, Difference, Version, VersionDetail } from '../types.ts';
import { Confirm } from '../ui/confirm.tsx';
import { useLoaded } from '../ui/loaded.ts';
import { changedBy } from '../ui/managed.tsx';
import { Dialog, Empty, Failure, Heads, Json, Loading, Scroll, Title, numeric, unseen } from '../ui/parts.tsx';

export function Changes(): JSX.Element {
  const { value, error, again } = useLoaded<{ versions: Version[] }>('/definitions/versions');
  const { value: definitions } = useLoaded<Definitions>('/definitions');
  const [shown, show] = useState<number>();
  const [restored, restore] = useState<number>();
  const newest = value?.versions[0]?.number;
  return (
    <>
      <Title>Changes</Title>
      {definitions?.management === 'file' && (
        <p class="note">
          Definitions are the file’s here (<code>management: file</code>): its own history is where it is kept.
        </p>
      )}
      {error && <Failure error={error} again={again} />}
      {!value && !error && <Loading what="the changes" />}
      {value?.versions.length === 0 && <Empty title="Nothing has been changed online." />}
      {value && value.versions.length > 0 && (
        <Scroll label="Versions">
          <table>
            <Heads of={[numeric('Version'), 'When', 'Who', 'What', unseen('Actions')]} />
            <tbody>
              {value.versions.map(({ number, at, by, cause, from, changes }) => (
                <tr key={number}>
                  <th scope="row" class="n">
                    <button type="button" class="link" onClick={() => show(number)}>
                      {count(number)}
                      <span class="hidden">, whole</span>
                    </button>
                  </th>
                  <td>{time(at)}</td>
                  <td>{by}</td>
                  <td class="wrap">
                    {cause === 'restore' && <>version {from} restored: </>}
                    {cause === 'file' && <>from the file: </>}
                    <Differences changes={changes} />
                  </td>
                  <td class="n">
                    {number !== newest && (
                      <button type="button" onClick={() => restore(number)}>
                        Restore<span class="hidden"> version {number}</span> …
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {shown !== undefined && <Whole number={shown} close={() => show(undefined)} />}
      {restored !== undefined && <Restore number={restored} close={() => restore(undefined)} />}
    </>
  );
}

function Differences({ changes }: { changes: readonly Difference[] }): JSX.Element {
  if (changes.length === 0) return <>nothing</>;
  return (
    <ul class="differences">
      {changes.map(({ kind, name, change, settings }) => (
        <li key={`${kind} ${name}`}>
          {kind} <b>{name}</b> {change}
          {settings.length > 0 && <span class="muted">: {settings.join(', ')}</span>}
        </li>
      ))}
    </ul>
  );
}

function Whole({ number, close }: { number: number; close: () => void }): JSX.Element {
  const { value, error } = useLoaded<VersionDetail>(`/definitions/versions/${number}`);
  return (
    <Dialog title={`Version ${number}`} close={close} wide>
      {error && <Failure error={error} />}
      {!value && !error && <Loading what={`version ${number}`} />}
      {value && <Json value={value.definitions} label={`Version ${number}, whole`} />}
    </Dialog>
  );
}

/** First it is said what would change. */
function Restore({ number, close }: { number: number; close: () => void }): JSX.Element {
  const [plan, setPlan] = useState<readonly Difference[]>();
  const [error, setError] = useState<AskError>();
  useEffect(() => {
    void (async () => {
      try {
        const { definitions } = await api<VersionDetail>(`/definitions/versions/${number}`);
        const { changes } = await api<{ changes: Difference[] }>('/definitions/plan', {
          method: 'POST',
          body: definitions,
        });
        setPlan(changes);
      } catch (failed) {
        setError(failed instanceof AskError ? failed : new AskError(String(failed)));
      }
    })();
  }, []);
  return (
    <Confirm
      title={`Restore version ${number}?`}
      verb="Restore"
      isReady={plan !== undefined && plan.length > 0}
      close={close}
      work={async () => {
        await api(`/definitions/versions/${number}/restore?${changedBy()}`, { method: 'POST' });
        revision.value += 1;
        askNow();
      }}
    >
      {error && <Failure error={error} />}
      {!plan && !error && <p role="status">Finding out what would change …</p>}
      {plan?.length === 0 && <p>Nothing: it is the same as now.</p>}
      {plan && plan.length > 0 && (
        <>
          <p>This would change. Subscriptions that are the same go on; those that were removed begin anew.</p>
          <Differences changes={plan} />
        </>
      )}
    </Confirm>
  );
}
