import { DATA_OPERATIONS } from '../config/operations.ts';

/** Data operations as small numbers: the order of `MESSAGE_TYPES`. */
export const CRUD = DATA_OPERATIONS;
export const Crud = { insert: 0, update: 1, replace: 2, delete: 3 } as const;
