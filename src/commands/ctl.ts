/**
 * `tailrace ctl`: asks a running engine over its API, as tables for a person or as the API's own JSON. Its file says where it
 * listens, and its token; without the file its address does, and, where one is configured, its token.
 */
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { API_PATH } from '../api/path.ts';
import { readDocument } from '../config/document.ts';
import { ConfigFaults } from '../config/faults.ts';
import { fileErrorCode } from '../config/file-error.ts';
import { isMapping } from '../config/salvage.ts';
import { UserError } from '../errors.ts';
import { askEngine } from './ask-engine.ts';
import type { Method } from './ask-engine.ts';
import { addressOfNamed } from './engine-address.ts';
import type { NamedEngine } from './engine-address.ts';
import { table } from './table.ts';
import { asJson, toStdout } from './output.ts';

export interface CtlOptions extends NamedEngine {
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

interface Asked {
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly method?: Method;
  readonly body?: unknown;
}

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
  ['PAUSED SINCE', 'pausedAt'],
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

/** One of the lists, or one thing of it; with another method than `GET` it is changed. Resolves with the exit code. */
export async function ctl(options: CtlOptions, path: string, asked: Asked = {}): Promise<number> {
  const { json, write = toStdout } = options;
  const { query = {}, method = 'GET', body } = asked;
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, value);
  const answer = await askEngine(await addressOfNamed(options), `${API_PATH}/${path}?${search.toString()}`, {
    method,
    body,
  });
  write(json ? asJson(answer) : readable(path, answer));
  return 0;
}

/** Any path, as the API's own JSON. `bodyFile`: JSON or YAML to be sent, `-` for standard input. */
export async function ctlAny(
  options: CtlOptions,
  path: string,
  { method, bodyFile }: { readonly method: Method; readonly bodyFile?: string | undefined },
): Promise<number> {
  const body = bodyFile === undefined ? undefined : await readBody(bodyFile);
  return ctl({ ...options, json: true }, path.replace(/^\/(?:api\/v1\/)?/, ''), { method, body });
}

async function readBody(file: string): Promise<unknown> {
  const from = file === '-' ? 'standard input' : file;
  let written: string;
  try {
    written = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new UserError('usage', `--body ${from} cannot be read (${fileErrorCode(error)})`, { cause: error });
  }
  const faults = new ConfigFaults(from, { outcome: 'nothing was sent' });
  const values = readDocument(written, faults)?.values();
  if (faults.count > 0) throw faults.toError();
  return values;
}

function readable(path: string, body: unknown): string {
  if (!isMapping(body)) return asJson(body);
  if (path === 'checkpoint') {
    const gaps = rowsOf(body['gaps']);
    const shown = columns(CHECKPOINT_COLUMNS, rowsOf(body['subscriptions']));
    return gaps.length === 0
      ? shown
      : `${shown}\nGaps (changes that were not delivered and never will be):\n${columns(GAP_COLUMNS, gaps)}`;
  }
  const list = COLUMNS[path];
  if (list === undefined) return asJson(body);
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
