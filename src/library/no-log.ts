/** A program that did not ask for a log gets none. */
import type { Log } from '../observe/log.ts';

const nothing = (): void => {};

export const noLog: Log = { error: nothing, warn: nothing, info: nothing, debug: nothing };
