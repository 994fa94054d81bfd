import type { Operation } from '../config/config.ts';

/** Data operations as small numbers: the order of `MESSAGE_TYPES`. */
export const CRUD = ['insert', 'update', 'replace', 'delete'] as const satisfies readonly Operation[];
export const Crud = { insert: 0, update: 1, replace: 2, delete: 3 } as const;
