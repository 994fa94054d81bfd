/** `tailrace snapshot`: asks a running engine for snapshots of its subscriptions, and shows how far they are. */
import { API_PATH } from '../api/path.ts';
import { UserError } from '../errors.ts';
import { isMapping } from '../config/salvage.ts';
import { formatCount, formatSpan } from '../terminal/amounts.ts';
import { bar } from '../terminal/live-lines.ts';
import { askEngine } from './ask-engine.ts';
import { addressOfNamed } from './engine-address.ts';
import type { NamedEngine } from './engine-address.ts';
import { table } from './table.ts';
import { asJson, toStdout } from './output.ts';
import type { SnapshotStatus } from '../observe/status.ts';

export interface SnapshotOptions extends NamedEngine {
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

export interface AddOptions {
  readonly ns?: readonly string[] | undefined;
  /** JSON. */
  readonly filter?: string | undefined;
}

const PATH = `${API_PATH}/snapshots`;

export async function snapshotList(options: SnapshotOptions): Promise<number> {
  const answer = await askEngine(await addressOfNamed(options), PATH);
  // The engine's own document says so.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { snapshots } = answer as { readonly snapshots: readonly SnapshotStatus[] };
  show(options, answer, snapshots);
  return 0;
}

export async function snapshotAdd(options: SnapshotOptions, subscription: string, add: AddOptions): Promise<number> {
  const body = {
    subscription,
    ...(add.ns && { namespaces: add.ns }),
    ...(add.filter !== undefined && { filter: queryOf(add.filter) }),
  };
  const answer = await askEngine(await addressOfNamed(options), PATH, { method: 'POST', body });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  show(options, answer, [answer as SnapshotStatus]);
  return 0;
}

export async function snapshotChange(
  options: SnapshotOptions,
  id: string,
  what: 'pause' | 'resume' | 'cancel',
): Promise<number> {
  const answer = await askEngine(await addressOfNamed(options), `${PATH}/${encodeURIComponent(id)}/${what}`, {
    method: 'POST',
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  show(options, answer, [answer as SnapshotStatus]);
  return 0;
}

function show(
  { json, write = toStdout }: SnapshotOptions,
  answer: unknown,
  snapshots: readonly SnapshotStatus[],
): void {
  if (json) write(asJson(answer));
  else if (snapshots.length === 0) write('There are no snapshots.\n');
  else write(table([HEADS, ...snapshots.map(row)]));
}

const BAR_COLUMNS = 10;
const HEADS = ['ID', 'STATE', 'DONE', 'DOCUMENTS', 'OF ABOUT', 'COLLECTIONS', 'PER SECOND', 'LEFT', 'WAITS FOR'];

function row(one: SnapshotStatus): string[] {
  const { id, state, documents, expectedDocuments, collections, documentsPerSecond, secondsLeft, waitsFor } = one;
  return [
    id,
    state,
    // It is an estimate, and may be less than there are.
    expectedDocuments ? bar(state === 'done' ? 1 : Math.min(0.99, documents / expectedDocuments), BAR_COLUMNS) : '-',
    formatCount(documents),
    expectedDocuments === null ? '-' : formatCount(expectedDocuments),
    formatCount(collections),
    documentsPerSecond === 0 ? '-' : formatCount(documentsPerSecond),
    secondsLeft === null ? '-' : formatSpan(secondsLeft),
    waitsFor ?? '-',
  ];
}

function queryOf(filter: string): unknown {
  try {
    const query: unknown = JSON.parse(filter);
    if (isMapping(query)) return query;
  } catch {
    // See below.
  }
  throw new UserError('usage', `--filter ${filter}: expected a query as a JSON object, such as '{"status": "open"}'`);
}
