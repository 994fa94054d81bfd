/** All that is fuzzed. */
import { BYTE_TARGETS } from './byte-targets.ts';
import { craftTarget } from './craft-target.ts';
import { httpTarget } from './http-target.ts';
import type { Target } from './target.ts';
import { TEXT_TARGETS } from './text-targets.ts';

export const TARGETS: readonly Target[] = [...BYTE_TARGETS, craftTarget, ...TEXT_TARGETS, httpTarget];
