/**
 * As much of Markdown as the pages of the codes use: paragraphs, lists, code, emphasis and links. Made of elements, never of HTML: what an
 * engine says becomes no script.
 */
import type { ComponentChildren, JSX } from 'preact';
import { href } from '../router.ts';

export function Markdown({ text }: { text: string }): JSX.Element {
  return <div class="prose">{blocks(text)}</div>;
}

function blocks(text: string): JSX.Element[] {
  const parts = text.split(/^```\w*\n([\s\S]*?)^```$/m);
  return parts.flatMap((part, at) => (at % 2 === 1 ? [<pre tabIndex={0}>{part.trimEnd()}</pre>] : paragraphs(part)));
}

function paragraphs(text: string): JSX.Element[] {
  return text
    .split(/\n{2,}/)
    .map((one) => one.trim())
    .filter((one) => one !== '')
    .map((one) => {
      if (!/^[-*] /.test(one)) return <p>{inline(one)}</p>;
      return (
        <ul>
          {one.split(/\n(?=[-*] )/).map((item) => (
            <li>{inline(item.slice(2))}</li>
          ))}
        </ul>
      );
    });
}

const MARK = /`([^`]+)`|\*\*([^*]+)\*\*|_([^_\s][^_]*)_|\[([^\]]+)\]\(([^)]+)\)/;

function inline(text: string): ComponentChildren[] {
  const found = MARK.exec(text);
  if (!found) return [text];
  const [whole, code, strong, emphasis, label, target] = found;
  const made =
    code !== undefined ? (
      <code>{code}</code>
    ) : strong !== undefined ? (
      <b>{inline(strong)}</b>
    ) : emphasis !== undefined ? (
      <em>{inline(emphasis)}</em>
    ) : (
      link(label ?? '', target ?? '')
    );
  return [text.slice(0, found.index), made, ...inline(text.slice(found.index + whole.length))];
}

/** Another code's page is here too; what else is in `docs` is not at hand. */
function link(label: string, target: string): ComponentChildren {
  const code = /^([a-z-]+)\.md$/.exec(target)?.[1];
  if (code !== undefined) return <a href={href('health', code)}>{inline(label)}</a>;
  return (
    <span>
      {inline(label)} <span class="muted">({target.replace(/^\.\.\//, 'docs/')})</span>
    </span>
  );
}
