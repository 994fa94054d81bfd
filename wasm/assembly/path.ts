/**
 * The path of the document whose fields are being written: "a.b." with the last dot, or nothing at the top. Where JSON is
 * written it is escaped already. A path that is too long for its place ends the call.
 */
import { fail, needRoom } from './memory';

const SIZE: usize = 4096;
const path = memory.data(4096 + 32);
/** As in `src/worker/update.ts`. Here a few bytes more are counted: in doubt that one decides. */
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/** What the update's paths take if each is written out. */
let bytes: u64 = 0;

/** How long it is. */
export let pathLength: usize = 0;

export function pathEnd(): usize {
  return path + pathLength;
}

/** A piece was written at `pathEnd()` up to here, or the path goes back to what it was. */
export function setPathLength(to: usize): void {
  pathLength = to;
}

/** An update begins, whose names take fewer bytes than this; each is the end of one path. */
export function beginPaths(names: usize): void {
  bytes = names;
}

/** One more path begins with the one there is. */
export function countPath(): void {
  bytes += pathLength;
}

export function endPaths(): void {
  if (bytes > MOST_BYTES) fail();
}

/** Room for a name of so many bytes, escaped, and the dot. */
export function needPath(name: usize): void {
  if (name > SIZE || pathLength + name * 6 + 1 > SIZE) fail();
}

export function putPath(pos: usize): usize {
  countPath();
  needRoom(pos, pathLength);
  for (let k: usize = 0; k < pathLength; k += 16) v128.store(pos + k, v128.load(path + k));
  return pos + pathLength;
}
