/** Of `tailrace check`: can the documents be had that subscriptions ask for, and which collections keep no pre-images? */
import type { MongoClient } from 'mongodb';
import type { Config, ImagesConfig, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import { refuseImages } from '../feed/whole-documents.ts';
import { PRE_IMAGES } from '../source/documents.ts';
import { codeOf } from '../source/failures.ts';
import { UserError } from '../errors.ts';
import { compilePatterns } from '../worker/pattern.ts';
import { UNAUTHORIZED, collectionsOf, some } from './collections.ts';
import type { Collection } from './collections.ts';
import type { Findings } from './findings.ts';

type Asking = SubscriptionConfig & { readonly images: ImagesConfig };

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
  // That they may not be listed is said elsewhere.
  const collections = (await collectionsOf(client, { withOptions: true })) ?? [];
  for (const one of asking) {
    const matches = compilePatterns(one.namespaces);
    const matched = collections.filter(({ namespace, type }) => type === 'collection' && matches(namespace));
    if (one.images.after === 'updateLookup') await checkLookups(client, one, matched, findings);
    if (needsPreImages(one.images)) await checkPreImages(client, one, matched, findings);
  }
}

function needsPreImages({ after, before, local }: ImagesConfig): boolean {
  if (local) return false;
  return before !== 'off' || after === 'whenAvailable' || after === 'required';
}

async function checkLookups(
  client: MongoClient,
  { name }: Asking,
  matched: readonly Collection[],
  findings: Findings,
): Promise<void> {
  const refused: string[] = [];
  for (const { db, coll, namespace } of matched) if (!(await mayFind(client, db, coll))) refused.push(namespace);
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
  const without = matched
    .filter(({ options }) => options['changeStreamPreAndPostImages']?.enabled !== true)
    .map(({ namespace }) => namespace);
  if (without.length === 0) return;
  const keep = '`collMod` with `changeStreamPreAndPostImages: {enabled: true}` has them kept';
  const text = `subscription ${name}: no pre-images are kept of ${some(without)}; ${keep}`;
  if (images.after === 'required' || images.before === 'required') findings.fault(`${text}. Until then it is held`);
  else findings.warning(`${text}. Until then events go without`);
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
