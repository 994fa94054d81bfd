/**
 * Loaded into every thread of an engine: in its workers, one call of those that a job makes fails in one of the ways that
 * `TAILRACE_SICK` names. It happens once in a number of jobs, so that no batch is blamed twice.
 */
import { isMainThread, threadId } from 'node:worker_threads';

if (!isMainThread) {
  const ways = process.env.TAILRACE_SICK.split(',');
  const way = ways[threadId % ways.length];
  const now = performance.now.bind(performance);
  const health = () => 60 + Math.floor(Math.random() * 100);
  let left = health();
  performance.now = () => {
    left -= 1;
    if (left > 0) return now();
    left = health();
    return misbehave(way);
  };
}

function misbehave(way) {
  if (way === 'throw') throw new Error('sick, as it was told to be');
  if (way === 'exit') process.exit(1);
  const kept = [];
  // "hang" does nothing else for ever.
  for (;;) if (way === 'memory') kept.push(Array.from({ length: 100_000 }, (_, n) => ({ n })));
}
