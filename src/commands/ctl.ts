/**
 * `tailrace ctl`: asks a running engine over its API, as tables for a person or as the API's own JSON. It needs no file of the engine's,
 * only its address, and, where one is configured, its token.
 */
import { API_PATH } from '../api/path.ts';
import { UserError } from '../errors.ts';
import { isMapping } from '../config/salvage.ts';
import { table } from './table.ts';
import { toStderr, toStdout } from './output.ts';

export interface CtlOptions {
  /** `http://host:port` */
  readonly url: string;
  readonly token?: string | undefined;
  readonly json: boolean;
  readonly write?: (text: string) => void;
  readonly writeError?: (text: string) => void;
}

export type CtlQuery = Readonly<Record<string, string | undefined>>;

const ANSWER_MS = 30_000;
const FAILED = 1;
const REFUSED = 2;

type Row = Readonly<Record<string, unknown>>;

/** What a person is shown of each list. */
const COLUMNS: Readonly<Record<string, readonly (readonly [head: string, path: string])[]>> = {
  sources: [
    ['SOURCE', 'name'],
    ['STATE', 'status.state'],
    ['MEMBER', 'status.member'],
    ['LAG S', 'status.lagSeconds'],
    ['HEADROOM S', 'status.headroomSeconds'],
    ['HELD BY', 'status.heldBy'],
  ],
  sinks: [
    ['SINK', 'name'],
    ['STATE', 'status.state'],
    ['BLOCKED', 'status.blocked'],
    ['SUBSCRIPTIONS', 'subscriptions'],
  ],
  subscriptions: [
    ['SUBSCRIPTION', 'name'],
    ['SOURCE', 'source'],
    ['SINK', 'sink'],
    ['STATE', 'status.state'],
    ['LAG S', 'status.lagSeconds'],
    ['UNCONFIRMED', 'status.unconfirmed'],
    ['PARKED', 'status.parked'],
    ['HELD FOR', 'status.holds.reason'],
  ],
  parked: [
    ['ID', 'id'],
    ['SUBSCRIPTION', 'subscription'],
    ['EVENT', 'event'],
    ['NAMESPACE', 'ns'],
    ['REASON', 'reason'],
    ['DETAIL', 'detail'],
  ],
  codes: [
    ['CODE', 'code'],
    ['WHAT HAPPENED', 'title'],
  ],
};

const CHECKPOINT_COLUMNS = [
  ['SUBSCRIPTION', 'name'],
  ['SOURCE', 'source'],
  ['RESUMES', 'resume.position'],
  ['AT', 'resume.time'],
  ['CONFIRMED UP TO', 'watermark.position'],
  ['UPDATED', 'updatedAt'],
] as const;
const GAP_COLUMNS = [
  ['SOURCE', 'source'],
  ['SUBSCRIPTION', 'subscription'],
  ['FROM', 'from'],
  ['TO', 'to'],
  ['REASON', 'reason'],
] as const;

/** One of the lists, or one thing of it. Resolves with the exit code. */
export async function ctl(options: CtlOptions, path: string, query: CtlQuery = {}): Promise<number> {
  const { json, write = toStdout, writeError = toStderr } = options;
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, value);
  const answer = await ask(options, `${API_PATH}/${path}?${search.toString()}`);
  if (!answer.ok) {
    writeError(`tailrace: ${answer.detail}\n[code: ${answer.code}; \`tailrace explain ${answer.code}\` says more]\n`);
    return answer.code === 'api-unreachable' || answer.status >= 500 ? FAILED : REFUSED;
  }
  write(json ? `${JSON.stringify(answer.body, undefined, 2)}\n` : readable(path, answer.body));
  return 0;
}

type Asked =
  | { readonly ok: true; readonly body: unknown }
  | { readonly ok: false; readonly status: number; readonly code: string; readonly detail: string };

async function ask({ url, token }: CtlOptions, path: string): Promise<Asked> {
  const at = addressOf(url, path);
  try {
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const response = await fetch(at, { headers, redirect: 'error', signal: AbortSignal.timeout(ANSWER_MS) });
    const body: unknown = await response.json();
    if (response.ok) return { ok: true, body };
    if (isMapping(body) && typeof body['code'] === 'string') {
      return { ok: false, status: response.status, code: body['code'], detail: String(body['detail']) };
    }
    return unreachable(at, `it answers ${response.status}, not as a Tailrace does`);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return unreachable(at, cause instanceof Error ? cause.message || cause.name : String(cause));
  }
}

function addressOf(url: string, path: string): URL {
  if (URL.canParse(url) && /^https?:\/\//.test(url)) return new URL(path, url);
  throw new UserError(
    'usage',
    `--url ${JSON.stringify(url)}: expected http://host:port, as the engine logs it at its start`,
  );
}

function unreachable({ origin }: URL, why: string): Asked {
  return { ok: false, status: 0, code: 'api-unreachable', detail: `no answer from an engine at ${origin} (${why})` };
}

function readable(path: string, body: unknown): string {
  if (!isMapping(body)) return `${JSON.stringify(body, undefined, 2)}\n`;
  if (path === 'checkpoint') {
    const gaps = rowsOf(body['gaps']);
    const shown = columns(CHECKPOINT_COLUMNS, rowsOf(body['subscriptions']));
    return gaps.length === 0
      ? shown
      : `${shown}\nGaps (changes that were not delivered and never will be):\n${columns(GAP_COLUMNS, gaps)}`;
  }
  const list = COLUMNS[path];
  if (list === undefined) return `${JSON.stringify(body, undefined, 2)}\n`;
  const next = body['next'];
  const more = typeof next === 'string' ? `\nThere is more: --after ${next}\n` : '';
  return columns(list, rowsOf(body[path])) + more;
}

function rowsOf(value: unknown): readonly Row[] {
  return Array.isArray(value) ? value.filter(isMapping) : [];
}

function columns(heads: readonly (readonly [head: string, path: string])[], rows: readonly Row[]): string {
  return table([
    heads.map(([head]) => head),
    ...rows.map((row) => heads.map(([, path]) => cell(at(row, path.split('.'))))),
  ]);
}

function at(value: unknown, [step, ...rest]: readonly string[]): unknown {
  if (step === undefined) return value;
  if (Array.isArray(value)) return value.map((one) => at(one, [step, ...rest]));
  return isMapping(value) ? at(value[step], rest) : undefined;
}

function cell(value: unknown): string {
  if (value === null || value === undefined || (Array.isArray(value) && value.length === 0)) return '-';
  if (Array.isArray(value)) return value.map(cell).join(', ');
  return (typeof value === 'string' ? value : JSON.stringify(value)).replaceAll(/\s+/g, ' ');
}
