/** `tailrace plan` and `tailrace apply`: what the file would change where sources, sinks and subscriptions are managed online, and doing it. */
import { userInfo, hostname } from 'node:os';
import { API_PATH } from '../api/path.ts';
import { CHECKPOINTS, environmentExists } from '../checkpoint/data-folder.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { differences, fileOf } from '../config/definitions.ts';
import { loadFile } from '../config/load.ts';
import { UserError } from '../errors.ts';
import { definitionsIn, managedByFile, textOf } from '../library/management.ts';
import { noLog } from '../library/no-log.ts';
import { confirmed } from './confirm.ts';
import { askerOf } from './folder-owner.ts';
import { asJson, talk, toStdout } from './output.ts';
import { lockIfStopped } from './stopped-folder.ts';
import type { Difference } from '../config/definitions.ts';
import type { Loaded } from '../config/load.ts';

export interface PlanOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

export interface ApplyOptions extends PlanOptions {
  readonly yes: boolean;
}

export async function plan({ config, json, write = toStdout }: PlanOptions): Promise<number> {
  const loaded = await managed(config);
  const changes = await planned(loaded, config);
  write(json ? asJson({ changes }) : `${described(changes)}\n`);
  return 0;
}

export async function apply({ config, json, yes, write = toStdout }: ApplyOptions): Promise<number> {
  const say = talk({ json, yes, write });
  const loaded = await managed(config);
  const changes = await planned(loaded, config);
  say(`${described(changes)}\n`);
  const changed = changes.length > 0 && (await confirmed('Apply it?', yes));
  if (changed) await applied(loaded, config);
  if (json) write(asJson({ changed, changes }));
  else if (changes.length > 0) write(changed ? 'Applied.\n' : 'Nothing was changed.\n');
  return 0;
}

async function managed(file: string): Promise<Loaded> {
  const loaded = await loadFile(file, process.env);
  if (loaded.config.management === 'file') throw managedByFile();
  return loaded;
}

/** By the running engine, or by what a stopped one has left. */
async function planned(loaded: Loaded, file: string): Promise<readonly Difference[]> {
  const wanted = definitionsIn(loaded);
  return await withEngineOr(loaded, {
    running: async () => changesIn(await ask(loaded, file, 'plan')),
    stopped: async ({ definitions: { latest } }) => (latest ? differences(latest.definitions, wanted) : []),
  });
}

async function applied(loaded: Loaded, file: string): Promise<void> {
  const definitions = definitionsIn(loaded);
  await withEngineOr(loaded, {
    running: async () => void (await ask(loaded, file, 'apply')),
    stopped: async (store) => {
      const { latest } = store.definitions;
      const changes = latest ? differences(latest.definitions, definitions) : [];
      await store.definitions.add({ at: Date.now(), by: whoAmI(), cause: 'file', changes, definitions });
      for (const { kind, name, change } of changes) {
        if (kind === 'subscription' && change === 'removed' && store.get(name))
          await store.forget(name, { beginsAnew: false });
      }
    },
  });
}

async function withEngineOr<T>(
  { config }: Loaded,
  {
    running,
    stopped,
  }: { readonly running: () => Promise<T>; readonly stopped: (store: CheckpointStore) => Promise<T> },
): Promise<T> {
  const { path } = config.checkpoint;
  if (!environmentExists(path, CHECKPOINTS)) {
    throw new UserError(
      'usage',
      'No engine has run on this data folder yet: its first start takes what the file says, and nothing is to be applied.',
    );
  }
  await using lock = await lockIfStopped(path);
  if (!lock) return await running();
  await using store = await CheckpointStore.open({ path, log: noLog });
  return await stopped(store);
}

async function ask(loaded: Loaded, file: string, what: 'plan' | 'apply'): Promise<unknown> {
  const { sources, sinks, subscriptions } = fileOf({}, definitionsIn(loaded));
  const body = { sources, sinks, subscriptions, by: whoAmI() };
  const post = await askerOf(loaded.config, file);
  return await post(`${API_PATH}/definitions/${what}`, body);
}

function changesIn(answer: unknown): readonly Difference[] {
  // The engine's own document says so.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return (answer as { readonly changes: readonly Difference[] }).changes;
}

function described(changes: readonly Difference[]): string {
  if (changes.length === 0) return 'The file has nothing that differs.';
  return changes.map((one) => `  ${SIGNS[one.change]} ${textOf(one)}`).join('\n');
}

const SIGNS = { added: '+', changed: '~', removed: '-' } as const;

function whoAmI(): string {
  return `${userName()}@${hostname()}`;
}

/** A container's user may have no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'somebody');
  }
}
