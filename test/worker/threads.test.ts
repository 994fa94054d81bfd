import assert from 'node:assert/strict';
import { test } from 'node:test';
import workerThreads from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { pino } from 'pino';
import { SharedPlan } from '../../src/worker/plan.ts';
import { WorkerPool } from '../../src/worker/pool.ts';
import type { ThreadJob } from '../../src/worker/protocol.ts';
import type { RawBatch } from '../../src/source/source.ts';
import type { ThreadRange } from '../../src/worker/thread-count.ts';
import { Threads } from '../../src/worker/threads.ts';
import { batchOf, insert, plan } from './fixtures.ts';

const OPTIONS = { plan: new SharedPlan(plan([{}])), wallTime: true, collated: [] };
const WAIT_MS = 30_000;

/** What becomes of the n-th thread that is started, from 1; as usual where nothing is said. */
type Fate = (n: number) => 'refused' | 'exits' | 'hangs' | undefined;

const SCRIPTS = { exits: 'process.exit(1)', hangs: 'for (;;);' };

function batch(...says: string[]): RawBatch {
  const entries = says.map((say, n) => insert(n + 1, { _id: n + 1, say }));
  return { bytes: batchOf(entries), entries: says.length, last: undefined };
}

interface Tried {
  readonly pool: WorkerPool;
  readonly logged: readonly string[];
  readonly started: () => number;
}

/** A pool in a process where starting a thread may go wrong. */
async function withThreads(threads: ThreadRange, fate: Fate, use: (tried: Tried) => Promise<void>): Promise<void> {
  const { Worker: Real } = workerThreads;
  let started = 0;
  class Fated extends Real {
    constructor(file: string | URL, options: WorkerOptions) {
      const what = fate(++started);
      if (what === 'refused') throw new Error('Worker initialization failure: EAGAIN');
      super(file, what ? { ...options, execArgv: ['--import', `data:text/javascript,${SCRIPTS[what]}`] } : options);
    }
  }
  const logged: string[] = [];
  const log = pino(
    { level: 'warn', base: null },
    { write: (line: string) => logged.push((JSON.parse(line) as { msg: string }).msg) },
  );
  workerThreads.Worker = Fated;
  const workerFile = new URL('deadly-worker.ts', import.meta.url).href;
  const pool = new WorkerPool({ threads, log, deadlineMs: 4_000, workerFile });
  try {
    await use({ pool, logged, started: () => started });
  } finally {
    workerThreads.Worker = Real;
    await pool.close();
  }
}

async function until(fulfilled: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!fulfilled()) {
    assert.ok(performance.now() < deadline, 'it did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Keeps a line of batches standing until then, all of which come back as they went. */
async function press(pool: WorkerPool, fulfilled: () => boolean): Promise<void> {
  const large = batch(...Array.from({ length: 2_000 }, () => 'hello'));
  const one = async (): Promise<void> => {
    const deadline = performance.now() + WAIT_MS;
    while (!fulfilled() && performance.now() < deadline) {
      const [result, ...others] = await pool.encode(large, OPTIONS);
      assert.deepEqual([result?.entries, result?.parked, others], [large.entries, [], []]);
    }
  };
  await Promise.all([one(), one(), one(), one()]);
  assert.ok(fulfilled(), 'it did not come about in time');
}

const NO_MORE = 'A worker thread could not be started; those that there are do its work.';

for (const fate of ['refused', 'exits', 'hangs'] as const) {
  test(`where one thread more ${fate === 'refused' ? 'is refused' : `${fate} while it starts`}, that is said once and costs no batch anything`, async () => {
    await withThreads(
      { least: 1, most: 3 },
      (n) => (n > 1 ? fate : undefined),
      async ({ pool, logged, started }) => {
        await press(pool, () => logged.length > 0);
        const later = performance.now() + 1_500;
        await press(pool, () => performance.now() > later);
        assert.deepEqual(logged, [NO_MORE]);
        assert.deepEqual([pool.threads.length, started()], [1, 2]);
      },
    );
  });
}

test('the first thread is tried again until it is up, and then does what waited for it', async () => {
  await withThreads(
    { least: 1, most: 1 },
    (n) => (n === 1 ? 'refused' : n === 2 ? 'exits' : undefined),
    async ({ pool, logged }) => {
      const [result] = await pool.encode(batch('hello'), OPTIONS);
      assert.deepEqual([result?.entries, result?.parked], [1, []]);
      assert.deepEqual(logged, ['No worker thread can be started, so nothing can be encoded; trying on.']);
    },
  );
});

test('a thread that ends and cannot be replaced ends neither the process nor the work of those that there are', async () => {
  await withThreads(
    { least: 2, most: 2 },
    (n) => (n > 2 ? 'refused' : undefined),
    async ({ pool, logged }) => {
      await until(() => pool.threadsUp === 2);
      await pool.encode(batch('hello'), OPTIONS);
      await pool.threads[0]!.terminate();
      await until(() => logged.includes(NO_MORE));
      assert.equal(pool.threadsUp, 1);
      const [result] = await pool.encode(batch('hello'), OPTIONS);
      assert.equal(result?.entries, 1);
    },
  );
});

test('a batch that hangs does not hold up those of others for as long as it may take: a thread more does them', async () => {
  await withThreads(
    { least: 1, most: 2 },
    () => undefined,
    async ({ pool }) => {
      await pool.encode(batch('hello'), OPTIONS);
      const hanging = pool.encode(batch('hang!'), OPTIONS).catch(() => undefined);
      const beside = pool.encode(batch('hello'), OPTIONS);
      const first = await Promise.race([hanging.then(() => 'the one that hangs'), beside.then(() => 'the other')]);
      assert.equal(first, 'the other');
      assert.equal(pool.threads.length, 2);
      assert.equal((await hanging)?.[0]?.parked[0]?.reason, 'worker-crash');
    },
  );
});

test('a thread that was started under load ends when it was not needed for half a minute', async (t) => {
  await withThreads(
    { least: 1, most: 2 },
    () => undefined,
    async ({ pool, logged }) => {
      await press(pool, () => pool.threadsUp === 2);
      const later = performance.now() + 31_000;
      t.mock.method(performance, 'now', () => later);
      for (let n = 0; n < 3; n++) {
        const [result] = await pool.encode(batch('hello'), OPTIONS);
        assert.equal(result?.entries, 1);
      }
      t.mock.restoreAll();
      assert.equal(pool.threadsUp, 1);
      assert.deepEqual(logged, []);
    },
  );
});

test('one that is just starting comes up before it is ended: Node would abort the process', async () => {
  const threads = threadsOf(1);
  const up = threads.start();
  await Promise.all([threads.close(), up]);
  assert.deepEqual(threads.all, []);
});

test('a thread that is one too many ends, and the others go on', async () => {
  const threads = threadsOf(2);
  try {
    await threads.start();
    await threads.start();
    assert.equal(threads.ready, 2);
    const job = (): ThreadJob => ({ ...OPTIONS, plan: OPTIONS.plan.handle, bytes: batch('hello').bytes });
    const stop = new AbortController().signal;
    const underWay = threads.run(job(), [], stop);
    threads.stopOne();
    assert.equal(threads.ready, 1);
    assert.equal((await underWay).kind, 'done');
    assert.equal((await threads.run(job(), [], stop)).kind, 'done');
    await assert.rejects(async () => {
      await threads.start();
      await threads.start();
    }, /there are 2 threads already/);
  } finally {
    await threads.close();
  }
});

function threadsOf(most: number): Threads {
  return new Threads({
    workerFile: new URL('deadly-worker.ts', import.meta.url).href,
    most,
    startMs: WAIT_MS,
    log: pino({ level: 'silent' }),
    onLost: () => undefined,
  });
}
