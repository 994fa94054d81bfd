/** The feed, as a snapshot sees it. */
import type { CollectionReads } from '../source/collection-reads.ts';
import type { OpTime } from '../source/position.ts';
import type { BatchResult, ChunkJob } from '../worker/protocol.ts';
import type { Insertion } from './insertion.ts';
import type { Touches } from './touches.ts';

export interface SnapshotWay {
  readonly touches: Touches;
  readonly reads: CollectionReads | undefined;
  /** Where reading stands; undefined while no snapshot may be put beside it. */
  position(): OpTime | undefined;
  encode(bytes: Uint8Array, documents: number, chunk: ChunkJob): Promise<readonly BatchResult[]>;
  /**
   * Puts what `make` gives behind all that was taken until now, where `at` is the last of it; nothing that is taken later is put
   * before it. Resolves once it is in order; false where it never will be.
   */
  insert(make: (at: OpTime) => readonly Insertion[] | Promise<readonly Insertion[]>): Promise<boolean>;
  /** Where the last states of documents are kept: resolves once those that were put until now are stored. */
  readonly stored?: ((stop: AbortSignal) => Promise<void>) | undefined;
  /** Entries read until now. */
  liveEntries(): number;
  /** How far back the oplog reaches; undefined where that is not known. */
  windowSeconds(): number | undefined;
}
