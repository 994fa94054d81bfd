/** The real worker, except that it exits, hangs or throws over an entry that says so. */
import run from '../../src/worker/main.ts';
import type { BatchReply, ThreadJob } from '../../src/worker/protocol.ts';
import { entryAt } from '../../src/source/reply.ts';

export default function deadly(job: ThreadJob): BatchReply {
  const { bytes, range } = job;
  // Without a range it is the whole batch, and any place in it will do.
  const text = range
    ? Array.from({ length: range.to - range.from }, (_, n) => latin1(entryAt(bytes, range.from + n).bytes)).join()
    : latin1(bytes);
  if (text.includes('exit!')) process.exit(1);
  if (text.includes('throw!')) throw new Error('as it was told');
  while (text.includes('hang!'));
  return run(job);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
