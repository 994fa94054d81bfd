/**
 * The oplog's commands by name: which make an event that a subscription can ask for, and which no change stream shows. A name
 * in none of these lists is a newer server's, and is told to everybody whom its namespace concerns.
 */
import type { DdlOperation } from '../config/config.ts';
import { BsonType, decodeText, stringEnd } from './bson.ts';

/** Commands that make a DDL event, by the first key of `o`. An index counts when its build commits, as change streams have it. */
export const ddlCommands: ReadonlyMap<string, DdlOperation> = new Map([
  ['create', 'create'],
  ['importCollection', 'create'],
  ['createIndexes', 'createIndexes'],
  ['commitIndexBuild', 'createIndexes'],
  ['drop', 'drop'],
  ['dropDatabase', 'dropDatabase'],
  ['dropIndexes', 'dropIndexes'],
  ['deleteIndexes', 'dropIndexes'],
  ['collMod', 'modify'],
  ['renameCollection', 'rename'],
]);
/** Commands that no change stream shows. */
export const silentCommands: ReadonlySet<string> = new Set([
  'startIndexBuild',
  'abortIndexBuild',
  'emptycapped',
  'convertToCapped',
  'truncateRange',
  'createDatabaseMetadata',
  'dropDatabaseMetadata',
  'createGlobalIndex',
  'dropGlobalIndex',
  'modifyCollectionShardingIndexCatalog',
  'upgradeDowngradeViewlessTimeseries',
]);
export const shardingCommands: ReadonlyMap<string, DdlOperation> = new Map([
  ['shardCollection', 'shardCollection'],
  ['reshardCollection', 'reshardCollection'],
  ['refineCollectionShardKey', 'refineCollectionShardKey'],
]);

/** What a command is about: `commandNs` is its entry's ("db.$cmd"), the value that of the first key of `o`. */
export function ddlNamespace(
  bytes: Uint8Array,
  operation: DdlOperation | undefined,
  commandNs: string,
  value: { type: number; at: number; last: number },
): string {
  const text =
    value.type === BsonType.string ? decodeText(bytes, value.at + 4, stringEnd(bytes, value.at, value.last) - 1) : '';
  // A rename names its source in full; all others their collection, dropDatabase none.
  return operation === 'rename' ? text : `${commandNs.slice(0, Math.max(0, commandNs.indexOf('.')))}.${text}`;
}
