/** What is so, and what to do about it: a reason of the health with the page of its code. */
import type { JSX } from 'preact';
import { href } from '../router.ts';
import type { CodePage, Reason } from '../types.ts';
import { useLoaded } from './loaded.ts';
import { Markdown } from './markdown.tsx';
import { Failure } from './parts.tsx';
import type { Tone } from './parts.tsx';

export function ReasonList({ reasons, tone = 'bad' }: { reasons: readonly Reason[]; tone?: Tone }): JSX.Element {
  return (
    <ul class="reasons">
      {reasons.map(({ code, text }) => (
        <li key={code + text} class={tone}>
          <p>{text}</p>
          <WhatToDo code={code} />
        </li>
      ))}
    </ul>
  );
}

/** In short; the code leads to the whole page. */
function WhatToDo({ code }: { code: string }): JSX.Element {
  const { value, error } = useLoaded<CodePage>(`/codes/${encodeURIComponent(code)}`);
  return (
    <div class="todo">
      <a class="code" href={href('health', code)}>
        {code}
      </a>
      {value && <Markdown text={value.whatToDo} />}
      {error && <Failure error={error} />}
    </div>
  );
}
