/** The source's half of `tailrace check`: is it a replica set, may we read what we need, how far back, and what is in it. */
import { MongoClient, ReadPreference, Timestamp } from 'mongodb';
import type { Db, Document } from 'mongodb';
import type { ChangeStreamConfig, Config, SourceConfig, Start } from '../config/config.ts';
import { redact, withoutSecrets } from '../config/redact.ts';
import { sleep } from '../waits.ts';
import { timeSeriesFault } from '../feed/time-series.ts';
import { UserError } from '../errors.ts';
import { noLog } from '../library/no-log.ts';
import { formatTs } from '../source/position.ts';
import { ReplicaSet } from '../source/replica-set.ts';
import type { Ts } from '../source/position.ts';
import { compilePatterns } from '../worker/pattern.ts';
import { formatSpan } from '../terminal/amounts.ts';
import { CHECK_TIMEOUT_MS } from './findings.ts';
import type { Findings } from './findings.ts';
import type { CheckpointRecord } from '../checkpoint/record.ts';
import { checkImages } from './check-images.ts';
import { checkRouting } from './check-routing.ts';
import { checkSnapshots } from './check-snapshots.ts';
import { checkStarts } from './check-starts.ts';
import { UNAUTHORIZED, collectionsOf, some } from './collections.ts';
import { withSource } from './source-look.ts';

const AUTHENTICATION_FAILED = 18;
const USER_NOT_FOUND = 11;
/** For one member; several tries fit into the time there is. */
const IO_TIMEOUT_MS = 3_000;
const PAUSE_MS = 200;

export async function checkSource(
  source: SourceConfig,
  {
    config,
    stored,
    starts = new Map(),
  }: {
    readonly config: Config;
    /** By subscription; undefined where they are not known. */
    readonly stored: ReadonlyMap<string, CheckpointRecord> | undefined;
    /** By subscription: where it begins where it has no checkpoint, if not where its source says. */
    readonly starts?: ReadonlyMap<string, Start>;
  },
  findings: Findings,
): Promise<void> {
  findings.title(`source ${source.name}: ${redact(source.uri)}`);
  try {
    const trouble = await lookAsRunDoes(source);
    if (trouble !== undefined) {
      findings.fault(trouble);
      return;
    }
    await using client = new MongoClient(source.uri, {
      appName: 'tailrace check',
      serverSelectionTimeoutMS: CHECK_TIMEOUT_MS,
      connectTimeoutMS: CHECK_TIMEOUT_MS,
      socketTimeoutMS: CHECK_TIMEOUT_MS,
    });
    if (source.changeStream === undefined) {
      if (!(await isReplicaSet(client.db('admin'), findings))) return;
      if (!(await checkOplog(client.db('local'), findings))) return;
      await checkIdentity(client.db('local'), findings);
    } else await checkStream(client, source.changeStream, findings);
    await showMatches(client, source, config, findings);
    await checkImages(client, { source, config }, findings);
    await withSource(config, source, async ({ source: opened, budget, stop }) => {
      const identity = await opened.connect(stop);
      const look = { config, of: source, source: opened, identity, budget };
      if (stored) await checkStarts({ ...look, stored, starts }, findings, stop);
      await checkSnapshots({ ...look, stored, starts }, findings, stop);
      await checkRouting(look, findings, stop);
    });
  } catch (error) {
    findings.fault(error instanceof UserError ? error.message : sayWhy(error, source.uri));
  }
}

/** The engine's own way of looking knows more than the driver says: another set's name, a certificate, a standalone. */
async function lookAsRunDoes({ name, uri, changeStream }: SourceConfig): Promise<string | undefined> {
  const mongos = changeStream !== undefined;
  const set = new ReplicaSet({ source: name, uri, ioTimeoutMs: IO_TIMEOUT_MS, mongos, log: noLog });
  const late = AbortSignal.timeout(CHECK_TIMEOUT_MS);
  let unreachable = '';
  try {
    while (!late.aborted) {
      try {
        const { member } = await set.pick(late);
        set.release(member);
        return undefined;
      } catch (error) {
        if (error instanceof UserError) return error.message;
        // Who answers, and refuses, is asked again below, for its reason.
        if (codeOf(error) !== undefined) return undefined;
        if (!late.aborted) unreachable = withoutSecrets(String(error instanceof Error ? error.message : error), uri);
        await sleep(PAUSE_MS, late);
      }
    }
    return `no member could be reached within ${CHECK_TIMEOUT_MS / 1000} s (${unreachable})`;
  } finally {
    await set.close();
  }
}

async function isReplicaSet(admin: Db, findings: Findings): Promise<boolean> {
  const hello = await admin.command({ hello: 1 }, { readPreference: ReadPreference.primaryPreferred });
  if (hello['msg'] === 'isdbgrid') {
    findings.fault('this is a mongos: it has no oplog. Make each shard a source, by a user of its own');
    return false;
  }
  if (typeof hello['setName'] !== 'string') {
    findings.fault(
      'this server is no member of a replica set, so it has no oplog (one member is enough: rs.initiate())',
    );
    return false;
  }
  const { version } = await admin.command({ buildInfo: 1 });
  findings.ok(`replica set ${hello['setName']}, member ${String(hello['me'])}, MongoDB ${String(version)}`);
  return true;
}

/** False where it cannot be read, which has been said then. */
async function checkOplog(local: Db, findings: Findings): Promise<boolean> {
  const oplog = local.collection('oplog.rs', { readConcern: { level: 'majority' }, promoteValues: true });
  const end = async (direction: 1 | -1): Promise<Ts | undefined> => {
    const found = await oplog
      .find({}, { projection: { ts: 1 }, sort: { $natural: direction }, limit: 1, maxTimeMS: CHECK_TIMEOUT_MS })
      .next();
    return tsOf(found);
  };
  let oldest: Ts | undefined;
  let newest: Ts | undefined;
  try {
    oldest = await end(1);
    newest = await end(-1);
  } catch (error) {
    if (codeOf(error) !== UNAUTHORIZED) throw error;
    findings.fault(
      'the user may not read the oplog: grant it `find` on local.oplog.rs (the role `read` on `local` has it)',
    );
    return false;
  }
  if (oldest === undefined || newest === undefined) {
    findings.fault('the oplog is empty');
    return false;
  }
  findings.ok('the oplog can be read with read concern majority');
  const span = formatSpan(newest.seconds - oldest.seconds);
  findings.info(`oldest entry ${withTime(oldest)}, newest ${withTime(newest)}: a window of ${span}`);
  return true;
}

/** What it takes to read a change stream: a server that has them, and the right to watch. */
async function checkStream(client: MongoClient, config: ChangeStreamConfig, findings: Findings): Promise<void> {
  const { watch, fullDocument, fullDocumentBeforeChange } = config;
  const hello = await client.db('admin').command({ hello: 1 });
  const { version } = await client.db('admin').command({ buildInfo: 1 });
  if (hello['msg'] === 'isdbgrid') {
    findings.ok(`a mongos of MongoDB ${String(version)}`);
    findings.warning('through a mongos an `_id` can occur twice, and lag is not known: see docs/change-streams.md');
  } else if (typeof hello['setName'] === 'string') {
    findings.ok(`replica set ${hello['setName']}, member ${String(hello['me'])}, MongoDB ${String(version)}`);
  } else {
    findings.fault(
      'this server is no member of a replica set, so it has no change streams (one is enough: rs.initiate())',
    );
    return;
  }
  const [db = '', ...coll] = watch.split('.');
  const options = {
    maxAwaitTimeMS: 100,
    ...(fullDocument !== 'default' && { fullDocument }),
    ...(fullDocumentBeforeChange !== 'off' && { fullDocumentBeforeChange }),
  };
  try {
    const watched =
      watch === 'deployment' ? client : coll.length === 0 ? client.db(db) : client.db(db).collection(coll.join('.'));
    await using stream = watched.watch([], options);
    await stream.tryNext();
    findings.ok(`the change stream of ${watch} can be read`);
  } catch (error) {
    if (codeOf(error) !== UNAUTHORIZED) throw error;
    findings.fault(
      `the user may not watch ${watch}: grant it ${watch === 'deployment' ? 'the role `readAnyDatabase`' : `the role \`read\` on \`${db}\``}`,
    );
  }
}

async function checkIdentity(local: Db, findings: Findings): Promise<void> {
  try {
    const found = await local.collection('system.replset').findOne({}, { maxTimeMS: CHECK_TIMEOUT_MS });
    const settings: unknown = found?.['settings'];
    if (typeof settings === 'object' && settings !== null && 'replicaSetId' in settings) {
      findings.ok(`replica set id ${String(settings.replicaSetId)}`);
    } else {
      findings.warning("the set's configuration holds no replicaSetId: its name is compared instead");
    }
  } catch (error) {
    if (codeOf(error) !== UNAUTHORIZED) throw error;
    findings.warning(
      'the user may not read local.system.replset, so another set of the same name would not be told from this one: ' +
        'grant `find` on it in a role of your own (the role `read` on `local` does not cover it)',
    );
  }
}

async function showMatches(
  client: MongoClient,
  source: SourceConfig,
  config: Config,
  findings: Findings,
): Promise<void> {
  const subscriptions = config.subscriptions.filter((subscription) => subscription.source === source.name);
  const collections = await collectionsOf(client, { withOptions: false });
  if (collections === undefined) {
    findings.warning('the user may not list databases and collections: what the subscriptions match is not shown');
    return;
  }
  for (const { name, namespaces } of subscriptions) {
    const matches = compilePatterns(namespaces);
    const matched = collections.filter(({ namespace }) => matches(namespace));
    const plain = matched.filter(({ type }) => type === 'collection').map(({ namespace }) => namespace);
    if (plain.length === 0) findings.warning(`subscription ${name} matches no collection that is there now`);
    else {
      findings.info(
        `subscription ${name} matches ${plain.length} of ${collections.length} collections: ${some(plain)}`,
      );
    }
    const packed = matched.filter(({ type }) => type === 'timeseries').map(({ namespace }) => namespace);
    const named = packed.find((namespace) => namespaces.includes(namespace));
    if (named !== undefined) findings.fault(timeSeriesFault(name, named));
    else if (packed.length > 0) {
      findings.warning(
        `subscription ${name} also matches time-series collections, which have no change events: ${packed.join(', ')}`,
      );
    }
  }
}

function tsOf(entry: Document | null): Ts | undefined {
  const ts: unknown = entry?.['ts'];
  return ts instanceof Timestamp
    ? { seconds: ts.getHighBitsUnsigned(), increment: ts.getLowBitsUnsigned() }
    : undefined;
}

function withTime(ts: Ts): string {
  return `${new Date(ts.seconds * 1000).toISOString().replace('.000', '')} (${formatTs(ts)})`;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function sayWhy(error: unknown, uri: string): string {
  const message = withoutSecrets(error instanceof Error ? error.message : String(error), uri);
  if (codeOf(error) === AUTHENTICATION_FAILED || codeOf(error) === USER_NOT_FOUND) {
    return `the server refuses the credentials (${message}). Check user, password and authSource`;
  }
  if (error instanceof Error && error.name === 'MongoServerSelectionError') {
    return `no member could be reached within ${CHECK_TIMEOUT_MS / 1000} s (${message})`;
  }
  return message;
}
