/**
 * Preloaded (`node --import`) into every process that a bench measures, ours and a peer's alike: notes when the first and
 * the last confirm came in, and what CPU the process had used by the first, so that neither polling nor start-up (a peer
 * runs through tsx) blurs a figure. Costs one call per confirm frame. On exit it writes them to `TAILRACE_BENCH_PROBE`.
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

const path = process.env.TAILRACE_BENCH_PROBE;

if (isMainThread && path !== undefined) {
  const require = createRequire(import.meta.url);
  // amqplib does not export its channel; by its file it is the very class that `import 'amqplib'` uses.
  const { Channel } = require(fileURLToPath(new URL('../node_modules/amqplib/lib/channel.js', import.meta.url)));
  const { handleConfirm } = Channel.prototype;
  let firstAt = 0;
  let lastAt = 0;
  let cpuMicrosAtFirst = 0;
  Channel.prototype.handleConfirm = function (handle, fields) {
    lastAt = performance.now();
    if (firstAt === 0) {
      firstAt = lastAt;
      const { user, system } = process.cpuUsage();
      cpuMicrosAtFirst = user + system;
    }
    handleConfirm.call(this, handle, fields);
  };
  process.on('exit', () => {
    if (firstAt > 0) {
      writeFileSync(
        path,
        JSON.stringify({ firstMs: firstAt, lastMs: lastAt, cpuSecondsAtFirst: cpuMicrosAtFirst / 1e6 }),
      );
    }
  });
}
