/** Asks before something is changed, does it, and says what became of it. */
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { AskError } from '../api.ts';
import { Dialog, Failure } from './parts.tsx';

interface ConfirmProps {
  readonly title: string;
  readonly children: ComponentChildren;
  /** What the button says. */
  readonly verb: string;
  /** What the other one says, which changes nothing. */
  readonly back?: string;
  readonly isDanger?: boolean;
  /** Whether it can be done. */
  readonly isReady?: boolean;
  readonly work: () => Promise<void>;
  readonly close: () => void;
}

export function Confirm({
  title,
  children,
  verb,
  back = 'Cancel',
  isDanger = false,
  isReady = true,
  work,
  close,
}: ConfirmProps): JSX.Element {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const run = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await work();
      close();
    } catch (failed) {
      setError(failed instanceof AskError ? failed : new AskError(String(failed)));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} close={close}>
      <div class="prose">{children}</div>
      {error && <Failure error={error} />}
      <footer>
        <button type="button" onClick={close}>
          {back}
        </button>
        <button
          type="button"
          class={isDanger ? 'danger' : 'primary'}
          disabled={isBusy || !isReady}
          onClick={() => void run()}
        >
          {isBusy ? 'Under way …' : verb}
        </button>
      </footer>
    </Dialog>
  );
}
