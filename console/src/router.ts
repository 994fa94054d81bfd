/** Where the reader is: behind the `#`, so that any server and any proxy's path will do, and a link can be sent to somebody. */
import { computed, signal } from '@preact/signals';

export interface Place {
  readonly page: string;
  /** What of the page: a name, mostly. */
  readonly name: string | undefined;
  readonly query: URLSearchParams;
}

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

export const place = computed<Place>(() => {
  const [path = '', query = ''] = hash.value.replace(/^#\/?/, '').split('?', 2);
  const [page = '', name] = path.split('/', 2);
  return {
    page: page === '' ? 'overview' : page,
    name: name === undefined || name === '' ? undefined : decoded(name),
    query: new URLSearchParams(query),
  };
});

export function href(page: string, name?: string, query?: Readonly<Record<string, string>>): string {
  const asked = new URLSearchParams(query).toString();
  return `#/${page}${name === undefined ? '' : `/${encodeURIComponent(name)}`}${asked === '' ? '' : `?${asked}`}`;
}

/** Somebody may have typed it. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `change` of the place's query; what is empty is left out. A link to it can be sent to somebody. */
export function search(changes: Readonly<Record<string, string>>): void {
  const { page, name, query } = place.value;
  const asked = new URLSearchParams(query);
  for (const [key, value] of Object.entries(changes)) {
    if (value === '') asked.delete(key);
    else asked.set(key, value);
  }
  history.replaceState(null, '', href(page, name, Object.fromEntries(asked)));
  hash.value = location.hash;
}

export function go(to: string): void {
  location.hash = to;
}
