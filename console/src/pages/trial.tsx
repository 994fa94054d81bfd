/** What would become of a definition before it is saved: a connection is tried, or what a subscription would have sent lately is shown. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { api, AskError } from '../api.ts';
import { bytes, count, plural, positionTime } from '../format.ts';
import type { Finding, Kind, SampleMessage } from '../types.ts';
import { Card, Empty, Failure, Heads, Scroll, numeric } from '../ui/parts.tsx';
import type { Mapping } from '../ui/settings.ts';

interface Preview {
  readonly from: string;
  readonly to: string;
  readonly entries: number;
  readonly whole: boolean;
  readonly counts: readonly { readonly ns: string; readonly operation: string; readonly events: number }[];
  readonly parked: readonly { readonly reason: string; readonly detail: string; readonly events: number }[];
  readonly samples: readonly SampleMessage[];
}

interface TrialProps {
  readonly kind: Kind;
  readonly name: string | undefined;
  readonly configuration: Mapping;
  readonly isSound: boolean;
}

export function Trial({ kind, name, configuration, isSound }: TrialProps): JSX.Element {
  const [found, setFound] = useState<{ ok: boolean; findings: Finding[] }>();
  const [preview, setPreview] = useState<Preview>();
  const [error, setError] = useState<AskError>();
  const [isBusy, setBusy] = useState(false);
  const [minutes, setMinutes] = useState(10);
  const isPreview = kind === 'subscription';
  const run = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    const named = name === undefined ? {} : { name };
    try {
      if (isPreview) {
        const body = { subscription: configuration, minutes, samples: 3, ...named };
        setPreview(await api<Preview>('/subscriptions/preview', { method: 'POST', body }));
      } else {
        setFound(await api(`/${kind}s/test`, { method: 'POST', body: { configuration, ...named } }));
      }
    } catch (failed) {
      setError(failed instanceof AskError ? failed : new AskError(String(failed)));
    }
    setBusy(false);
  };
  return (
    <Card
      title={isPreview ? 'What it would match' : 'Whether it can be reached'}
      aside={
        <div class="actions">
          {isPreview && (
            <label class="inline">
              of the last{' '}
              <select value={minutes} onChange={({ currentTarget }) => setMinutes(Number(currentTarget.value))}>
                {[1, 10, 60].map((one) => (
                  <option key={one} value={one}>
                    {one} min
                  </option>
                ))}
              </select>
            </label>
          )}
          <button type="button" disabled={isBusy || !isSound} onClick={() => void run()}>
            {isBusy ? 'Under way …' : isPreview ? 'Preview' : 'Test the connection'}
          </button>
        </div>
      }
    >
      {error && <Failure error={error} />}
      <div role="status" class="stack">
        {found && (
          <ul class="reasons">
            {found.findings.map(({ kind: tone, text }) => (
              <li key={text} class={{ ok: 'good', info: '', warning: 'warn', fault: 'bad' }[tone]}>
                {text}
              </li>
            ))}
          </ul>
        )}
        {preview && <Matches preview={preview} />}
        {!found && !preview && !error && (
          <p class="muted">
            {isPreview
              ? 'Counts and messages as they would have been sent, from the oplog itself. Nothing is sent.'
              : 'What `tailrace check` would say of it. Nothing is changed.'}
          </p>
        )}
      </div>
    </Card>
  );
}

function Matches({
  preview: { from, to, entries, whole, counts, parked, samples },
}: {
  preview: Preview;
}): JSX.Element {
  return (
    <>
      <p class="muted">
        Of {plural(entries, 'entry', 'entries')} of the oplog from {positionTime(from)} to {positionTime(to)}
        {whole ? '' : '; there was no time to come to the end'}:
      </p>
      {counts.length === 0 ? (
        <Empty title="It would have matched nothing." />
      ) : (
        <Scroll label="What it would match">
          <table>
            <Heads of={['Namespace', 'Operation', numeric('Events')]} />
            <tbody>
              {counts.map(({ ns, operation, events }) => (
                <tr key={`${ns} ${operation}`}>
                  <th scope="row">{ns}</th>
                  <td>{operation}</td>
                  <td class="n">{count(events)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {parked.map(({ reason, detail, events }) => (
        <p key={reason} class="note warn">
          {plural(events, 'event')} would be parked, {reason}: {detail}
        </p>
      ))}
      {samples.map((one) => (
        <section key={one.messageId} class="sample">
          <h3>
            {one.routingKey} · {one.contentType} · {bytes(one.bytes)}
          </h3>
          <pre class="json" tabIndex={0} role="region" aria-label={`Sample message ${one.messageId}`}>
            {readable(one)}
          </pre>
        </section>
      ))}
    </>
  );
}

function readable({ body, encoding, truncated }: SampleMessage): string {
  if (encoding === 'base64' || truncated) return truncated ? `${body} …` : body;
  try {
    return JSON.stringify(JSON.parse(body), undefined, 2);
  } catch {
    return body;
  }
}
