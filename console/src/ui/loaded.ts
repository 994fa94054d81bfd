/** What a page needs beside the status: asked for when it is shown, again when definitions change, and on demand. */
import { useCallback, useEffect, useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { connection, revision } from '../state.ts';

export interface Loaded<T> {
  /** What was had last, also while it is asked for again. */
  readonly value: T | undefined;
  readonly error: AskError | undefined;
  readonly again: () => void;
}

/** `path`: below `/api/v1`; undefined: nothing yet. `everyMs`: again and again, while the page can be seen. */
export function useLoaded<T>(path: string | undefined, everyMs?: number): Loaded<T> {
  const [state, setState] = useState<{ path?: string; value?: T; error?: AskError }>({});
  const [round, setRound] = useState(0);
  const again = useCallback(() => setRound((n) => n + 1), []);
  const isThere = connection.value.kind === 'there';
  const { value: changes } = revision;
  useEffect(() => {
    if (path === undefined || !isThere) return;
    const abort = new AbortController();
    api<T>(path, { signal: abort.signal }).then(
      (value) => setState({ path, value }),
      (error: unknown) => {
        if (!abort.signal.aborted && error instanceof AskError) setState((before) => ({ ...before, path, error }));
      },
    );
    return () => abort.abort();
  }, [path, round, isThere, changes]);
  useEffect(() => {
    if (everyMs === undefined) return;
    const timer = setInterval(() => {
      if (!document.hidden) again();
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, again]);
  const isOther = state.path !== path;
  return { value: isOther ? undefined : state.value, error: isOther ? undefined : state.error, again };
}
