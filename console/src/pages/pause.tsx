/** Pauses or resumes a subscription, once it was said what that means. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { api } from '../api.ts';
import { seconds } from '../format.ts';
import { askNow, status } from '../state.ts';
import { Confirm } from '../ui/confirm.tsx';

export function PauseButton({ name, state }: { name: string; state: string }): JSX.Element {
  const [isAsking, setAsking] = useState(false);
  const isPaused = state === 'paused';
  const verb = isPaused ? 'Resume' : 'Pause';
  const headroom = status.value?.subscriptions[name]?.headroomSeconds;
  return (
    <>
      <button type="button" aria-label={`${verb} ${name}`} onClick={() => setAsking(true)}>
        {verb}
      </button>
      {isAsking && (
        <Confirm
          title={`${verb} ${name}?`}
          verb={verb}
          close={() => setAsking(false)}
          work={async () => {
            await api(`/subscriptions/${encodeURIComponent(name)}/${isPaused ? 'resume' : 'pause'}`, {
              method: 'POST',
            });
            askNow();
          }}
        >
          {isPaused ? (
            <p>It goes on where it was paused, beside the others until it has caught up. They do not wait for it.</p>
          ) : (
            <>
              <p>Nothing more of it is delivered until it is resumed, over restarts too. The others go on.</p>
              <p>
                It keeps its position, and the oplog moves on: it may stay paused for <b>{seconds(headroom)}</b> at
                most, as fast as the oplog is written now.
              </p>
            </>
          )}
        </Confirm>
      )}
    </>
  );
}
