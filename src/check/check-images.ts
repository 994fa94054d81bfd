/** Of `tailrace check`: can the documents be had that subscriptions ask for, and which collections keep no pre-images? */
import type { MongoClient } from 'mongodb';
import type { Config, ImagesConfig, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import { refuseImages } from '../feed/whole-documents.ts';
import { PRE_IMAGES } from '../source/documents.ts';
import { codeOf } from '../source/failures.ts';
import { UserError } from '../errors.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { Findings } from './findings.ts';

const INTERNAL_DATABASES = new Set(['admin', 'config', 'local']);
const UNAUTHORIZED = 13;
const SHOWN = 10;

type Asking = SubscriptionConfig & { readonly images: ImagesConfig };

interface Collection {
  readonly db: string;
  readonly name: string;
  readonly keepsPreImages: boolean;
}

export async function checkImages(
  client: MongoClient,
  { source, config }: { readonly source: SourceConfig; readonly config: Config },
  findings: Findings,
): Promise<void> {
  const asking = config.subscriptions.filter(
    (one): one is Asking => one.source === source.name && one.images !== undefined,
  );
  if (asking.length === 0) return;
  const { version } = await client.db('admin').command({ buildInfo: 1 });
  try {
    refuseImages(source.name, String(version), asking);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    findings.fault(error.message);
    return;
  }
  const collections = await collectionsOf(client);
  for (const one of asking) {
    const matches = compilePatterns(one.namespaces);
    const matched = collections?.filter(({ db, name }) => matches(`${db}.${name}`));
    if (one.images.after === 'updateLookup') await checkLookups(client, one, matched ?? [], findings);
    if (needsPreImages(one.images)) await checkPreImages(client, one, matched ?? [], findings);
  }
}

function needsPreImages({ after, before }: ImagesConfig): boolean {
  return before !== 'off' || after === 'whenAvailable' || after === 'required';
}

async function checkLookups(
  client: MongoClient,
  { name }: Asking,
  matched: readonly Collection[],
  findings: Findings,
): Promise<void> {
  const refused: string[] = [];
  for (const { db, name: coll } of matched) if (!(await mayFind(client, db, coll))) refused.push(`${db}.${coll}`);
  if (refused.length === 0) return;
  findings.fault(
    `subscription ${name}: \`fullDocument: updateLookup\` reads documents, and the user may not read ${some(refused)}: grant it \`find\` there`,
  );
}

async function checkPreImages(
  client: MongoClient,
  { name, images }: Asking,
  matched: readonly Collection[],
  findings: Findings,
): Promise<void> {
  if (!(await mayFind(client, PRE_IMAGES.db, PRE_IMAGES.coll))) {
    findings.fault(
      `subscription ${name}: the user may not read pre-images: grant it \`find\` on config.system.preimages in a role of your own`,
    );
  }
  const without = matched.filter(({ keepsPreImages }) => !keepsPreImages).map(({ db, name: coll }) => `${db}.${coll}`);
  if (without.length === 0) return;
  const keep = '`collMod` with `changeStreamPreAndPostImages: {enabled: true}` has them kept';
  const text = `subscription ${name}: no pre-images are kept of ${some(without)}; ${keep}`;
  if (images.after === 'required' || images.before === 'required') findings.fault(`${text}. Until then it is held`);
  else findings.warning(`${text}. Until then events go without`);
}

/** Undefined where they may not be listed; that is said elsewhere. */
async function collectionsOf(client: MongoClient): Promise<readonly Collection[] | undefined> {
  try {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
    const collections: Collection[] = [];
    for (const { name: db } of databases) {
      if (INTERNAL_DATABASES.has(db)) continue;
      const listed = client.db(db).listCollections({ type: 'collection' }, { authorizedCollections: true });
      for await (const { name, ...found } of listed) {
        if (name.startsWith('system.')) continue;
        const options = 'options' in found ? found.options : undefined;
        collections.push({ db, name, keepsPreImages: options?.['changeStreamPreAndPostImages']?.enabled === true });
      }
    }
    return collections;
  } catch (error) {
    if (codeOf(error) === UNAUTHORIZED) return undefined;
    throw error;
  }
}

async function mayFind(client: MongoClient, db: string, coll: string): Promise<boolean> {
  try {
    await client.db(db).command({ find: coll, limit: 1, singleBatch: true, projection: { _id: 1 } });
    return true;
  } catch (error) {
    if (codeOf(error) === UNAUTHORIZED) return false;
    throw error;
  }
}

function some(namespaces: readonly string[]): string {
  const more = namespaces.length > SHOWN ? `, and ${namespaces.length - SHOWN} more` : '';
  return namespaces.slice(0, SHOWN).join(', ') + more;
}
