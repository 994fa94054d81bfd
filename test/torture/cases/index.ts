/** All cases, in the order of the table. */
import { DATA_CASES } from './data.ts';
import { ENGINE_CASES } from './engine.ts';
import { MONGODB_CASES } from './mongodb.ts';
import { NETWORK_CASES } from './network.ts';
import { RABBITMQ_CASES } from './rabbitmq.ts';
import type { TortureCase } from '../case.ts';

export const CASES: readonly TortureCase[] = [
  ...ENGINE_CASES,
  ...MONGODB_CASES,
  ...RABBITMQ_CASES,
  ...NETWORK_CASES,
  ...DATA_CASES,
];
