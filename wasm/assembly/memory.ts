/**
 * The memory's parts: this module's tables, what JavaScript keeps for it (`src/worker/transcoder.ts`), the batch, and behind it
 * the output. Invariant: every byte of an output was written for its event: nothing counts as read that lies at or behind the
 * end of the document being read, though blocks of 16 bytes may be loaded across it.
 */
import { giveUp } from './host';

/**
 * More than is ever written between two looks at the room (a byte for each of `MAX_DEPTH` documents that end there and some 300
 * of the event around them), and than a block that is stored whole can reach too far.
 */
const SLACK: usize = 1024;

/** Where the batch begins, and the output. */
export let batch: usize = 0;
export let output: usize = 0;
/** The text in front of every event's number: "shop:". */
export let prefix: usize = 0;
export let prefixLength: usize = 0;
/** Whoever writes looks whether it is past this. */
export let roomEnd: usize = 0;

export function setPlaces(batchAt: usize, prefixAt: usize, prefixBytes: usize, outputAt: usize): void {
  batch = batchAt;
  prefix = prefixAt;
  prefixLength = prefixBytes;
  output = outputAt;
  roomEnd = ((<usize>memory.size()) << 16) - SLACK;
}

/** For lengths that are not small: whether they fit is asked before. */
export function needRoom(pos: usize, length: usize): void {
  if (pos > roomEnd || length > roomEnd - pos) fail();
}

export function fail(): void {
  giveUp();
  unreachable();
}
