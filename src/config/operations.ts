/** What can be asked for, by MongoDB's `operationType`. The order of the first four is part of the workers' messages. */
export const DATA_OPERATIONS = ['insert', 'update', 'replace', 'delete'] as const;

export const DDL_OPERATIONS = [
  'create',
  'createIndexes',
  'drop',
  'dropDatabase',
  'dropIndexes',
  'modify',
  'rename',
  'refineCollectionShardKey',
  'reshardCollection',
  'shardCollection',
] as const;

export const OPERATIONS = [...DATA_OPERATIONS, ...DDL_OPERATIONS] as const;

export type DdlOperation = (typeof DDL_OPERATIONS)[number];
export type Operation = (typeof OPERATIONS)[number];
