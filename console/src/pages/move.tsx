/** Has a subscription read on from elsewhere, once it was said what that skips or repeats. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { seconds, time } from '../format.ts';
import { askNow } from '../state.ts';
import { Confirm } from '../ui/confirm.tsx';
import { Failure } from '../ui/parts.tsx';

interface Moved {
  readonly from: { readonly position: string; readonly time: string } | null;
  readonly to: { readonly position: string; readonly time: string };
  readonly seconds: number | null;
  readonly effect: 'none' | 'skipped' | 'repeated';
}

export function Move({ name, close, done }: { name: string; close: () => void; done: () => void }): JSX.Element {
  const [position, write] = useState('');
  const [trial, setTrial] = useState<Moved & { readonly asked: string }>();
  const [error, setError] = useState<AskError>();
  const [isBusy, setBusy] = useState(false);
  const path = `/subscriptions/${encodeURIComponent(name)}/move`;
  const tryIt = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    setTrial(undefined);
    try {
      const would = await api<Moved>(path, { method: 'POST', body: { position, dryRun: true } });
      setTrial({ ...would, asked: position });
    } catch (failed) {
      setError(failed instanceof AskError ? failed : new AskError(String(failed)));
    }
    setBusy(false);
  };
  return (
    <Confirm
      title={`Move ${name}?`}
      verb="Move"
      isDanger={trial?.effect === 'skipped'}
      isReady={trial !== undefined && trial.asked === position && trial.effect !== 'none'}
      close={close}
      work={async () => {
        // To where the trial has been, which `latest` would not be any more.
        await api(path, { method: 'POST', body: { position: trial?.to.position ?? position } });
        askNow();
        done();
      }}
    >
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          void tryIt();
        }}
      >
        <label>
          Read on from
          <input
            value={position}
            size={30}
            placeholder="2026-11-22T06:00:00Z"
            aria-describedby="move-help"
            onInput={({ currentTarget }) => write(currentTarget.value.trim())}
          />
        </label>
        <button type="submit" disabled={position === '' || isBusy}>
          {isBusy ? 'Trying …' : 'Try it'}
        </button>
      </form>
      <p class="help" id="move-help">
        latest, earliest, a date, or seconds:increment for what came after it.
      </p>
      {error && <Failure error={error} />}
      <div role="status">{trial && <Effect of={trial} />}</div>
    </Confirm>
  );
}

function Effect({ of: { from, to, seconds: between, effect } }: { of: Moved }): JSX.Element {
  const span = between === null ? 'what lies between' : `${seconds(Math.abs(between))} of changes`;
  return (
    <>
      <p>
        From {from ? `${time(from.time)} (${from.position})` : 'nowhere yet'} to {time(to.time)} ({to.position}).
      </p>
      {effect === 'none' && <p>It stands there already: nothing would change.</p>}
      {effect === 'repeated' && (
        <p>
          <b>{span}</b> would be delivered once more.
        </p>
      )}
      {effect === 'skipped' && (
        <p>
          <b>{span}</b> would <b>never be delivered</b>; a gap record is left.
        </p>
      )}
    </>
  );
}
