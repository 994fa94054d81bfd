/**
 * The path of the document whose fields are being written: "a.b." with the last dot, or nothing at the top. Where JSON is
 * written it is escaped already. A path that is too long for its place ends the call.
 */
import { fail, needRoom } from './memory';

const SIZE: usize = 4096;
const path = memory.data(4096 + 32);

/** How long it is. */
export let pathLength: usize = 0;

export function pathEnd(): usize {
  return path + pathLength;
}

/** A piece was written at `pathEnd()` up to here, or the path goes back to what it was. */
export function setPathLength(to: usize): void {
  pathLength = to;
}

/** Room for a name of so many bytes, escaped, and the dot. */
export function needPath(bytes: usize): void {
  if (bytes > SIZE || pathLength + bytes * 6 + 1 > SIZE) fail();
}

export function putPath(pos: usize): usize {
  needRoom(pos, pathLength);
  for (let k: usize = 0; k < pathLength; k += 16) v128.store(pos + k, v128.load(path + k));
  return pos + pathLength;
}
