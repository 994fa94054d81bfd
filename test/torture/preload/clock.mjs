/** Loaded into an engine: at SIGUSR2 its wall clock goes back an hour. */
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  const TrueDate = Date;
  let offset = 0;
  globalThis.Date = class extends TrueDate {
    constructor(...args) {
      if (args.length === 0) super(TrueDate.now() + offset);
      else super(...args);
    }
    static now() {
      return TrueDate.now() + offset;
    }
  };
  process.on('SIGUSR2', () => {
    offset -= 3_600_000;
    process.stderr.write('an hour earlier now\n');
  });
}
