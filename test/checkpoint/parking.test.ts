import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { ParkingStore, SLICE } from '../../src/checkpoint/parking.ts';
import type { ParkedKey } from '../../src/checkpoint/parked-key.ts';
import type { ParkingShortage } from '../../src/checkpoint/parking.ts';
import { parked, recordedLog, startChild, temporaryFolder } from './fixtures.ts';
import type { RecordedLog } from './fixtures.ts';

const never = new AbortController().signal;

/** Asked anew: the compiler takes a property for what it was found to be before. */
const shortageOf = (parking: ParkingStore): ParkingShortage | undefined => parking.shortage;

async function openParking(
  t: TestContext,
  maxBytes = 1_000_000,
): Promise<{ readonly parking: ParkingStore; readonly path: string; readonly log: RecordedLog }> {
  const path = await temporaryFolder(t);
  const log = recordedLog();
  const parking = await ParkingStore.open({ path, maxBytes, log });
  t.after(() => parking.close().catch(() => undefined));
  return { parking, path, log };
}

test('a parked event comes back whole after opening again', async (t) => {
  const { parking, path, log } = await openParking(t);
  const record = parked('shop:5.1.0', { payloadKind: 'message', contentType: 'application/json' });
  await parking.put(record, never);
  await parking.put(parked('shop:5.2.0', { payload: new Uint8Array(0) }), never);
  const { totalBytes } = parking;
  await parking.close();
  await using again = await ParkingStore.open({ path, maxBytes: 1e6, log });
  const found = again.read({ subscription: 'orders', id: 'shop:5.1.0' });
  assert.deepEqual({ ...found, payload: Buffer.from(found?.payload ?? []) }, record);
  assert.equal(again.read({ subscription: 'orders', id: 'shop:5.2.0' })?.payload.byteLength, 0);
  assert.equal(again.read({ subscription: 'orders', id: 'shop:5.3.0' }), undefined);
  assert.equal(again.totalBytes, totalBytes);
  assert.equal(again.count('orders'), 2);
  assert.equal(again.count('stock'), 0);
});

test('an event parked twice is stored and counted once, at the same moment too', async (t) => {
  const { parking } = await openParking(t);
  await Promise.all([parking.put(parked('shop:5.1.0'), never), parking.put(parked('shop:5.1.0'), never)]);
  const { totalBytes } = parking;
  await parking.put(parked('shop:5.1.0', { at: 1, detail: 'said differently this time' }), never);
  assert.equal(parking.totalBytes, totalBytes);
  assert.equal(parking.count('orders'), 1);
  await parking.put(parked('shop:5.1.0', { subscription: 'stock' }), never);
  assert.equal(parking.count('stock'), 1, 'another subscription’s is another event');
});

test('a whole entry is kept beside an operation of it that was set aside alone, which has the same id', async (t) => {
  const { parking, path, log } = await openParking(t);
  const alone = parked('shop:5.1.0', { reason: 'missing-field' });
  const whole = parked('shop:5.1.0', { origin: { serverVersion: 700, whole: true } });
  // At the same moment, and once the other one is on disk.
  await Promise.all([parking.put(alone, never), parking.put(whole, never)]);
  await parking.put({ ...alone, id: 'shop:5.2.0' }, never);
  for (let n = 0; n < 2; n++) await parking.put({ ...whole, id: 'shop:5.2.0' }, never);
  assert.equal(parking.count('orders'), 4);
  await parking.close();
  await using again = await ParkingStore.open({ path, maxBytes: 1e6, log });
  for (const id of ['shop:5.1.0', 'shop:5.2.0']) {
    assert.equal(again.read({ ...alone, id })?.reason, 'missing-field');
    assert.equal(again.read({ ...whole, id })?.origin?.whole, true);
    assert.equal(await again.settle({ gone: [{ ...alone, id }], kept: [{ ...whole, id, detail: 'another' }] }), 1);
    assert.equal(again.read({ ...alone, id }), undefined);
    assert.equal(again.read({ ...whole, id })?.detail, 'another');
  }
  await again.put(whole, never);
  assert.equal(again.count('orders'), 2, 'found beside, though its own place is free now');
  assert.equal(await again.settle({ gone: [...again.list()].map(({ summary }) => summary), kept: [] }), 2);
  assert.equal(again.totalBytes, 0);
});

test('an operation of an entry that is parked whole is not parked again', async (t) => {
  const { parking } = await openParking(t);
  await parking.put(parked('shop:5.1.0', { origin: { serverVersion: 700, whole: true } }), never);
  await parking.put(parked('shop:5.1.0'), never);
  assert.equal(parking.count('orders'), 1);
});

test('a store too small for what comes at once says how large it must be', async (t) => {
  const { parking, path, log } = await openParking(t, 1_000);
  const stop = new AbortController();
  const ids = ['shop:1.1.0', 'shop:1.2.0', 'shop:1.3.0'];
  const puts = ids.map((id) => parking.put(parked(id, { payload: Buffer.alloc(600) }), stop.signal));
  await sleep(50);
  const shortage = parking.shortage;
  assert.equal(shortage?.events, 2);
  assert.ok(shortage.neededBytes > 3 * 600);
  assert.equal(log.lines.length, 1);
  assert.match(
    log.lines[0]!,
    new RegExp(`2 events wait.* to ${shortage.neededBytes} or more.*only a higher limit helps`),
  );
  stop.abort();
  assert.equal((await Promise.allSettled(puts)).filter(({ status }) => status === 'rejected').length, 2);
  await parking.close();
  await using larger = await ParkingStore.open({ path, maxBytes: shortage.neededBytes, log });
  await Promise.all(ids.map((id) => larger.put(parked(id, { payload: Buffer.alloc(600) }), never)));
  assert.equal(larger.shortage, undefined);
});

test('a put that resolved survives a SIGKILL', async (t) => {
  const path = await temporaryFolder(t);
  const child = startChild(
    t,
    `import { writeSync } from 'node:fs';
     import { ParkingStore, SLICE } from 'CHECKPOINT/parking.ts';
     import { parked } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
     const parking = await ParkingStore.open({ path: ${JSON.stringify(path)}, maxBytes: 1e9, log: console });
     for (let i = 1; ; i += 1) {
       await parking.put(parked('shop:1.' + i + '.0'), new AbortController().signal);
       writeSync(1, i + '\\n');
     }`,
  );
  await child.line('50');
  await child.kill();
  await using parking = await ParkingStore.open({ path, maxBytes: 1e9, log: recordedLog() });
  const resolved = Number(child.text.trim().split('\n').at(-1));
  assert.ok([resolved, resolved + 1].includes(parking.count('orders')));
  for (let i = 1; i <= resolved; i += 1)
    assert.ok(parking.read({ subscription: 'orders', id: `shop:1.${i}.0` }), `event ${i}`);
});

test('many puts at the same moment wait for the disk only a few times', async (t) => {
  const path = await temporaryFolder(t);
  const trace = join(path, 'trace');
  const code = `
    import { ParkingStore, SLICE } from ${JSON.stringify(new URL('../../src/checkpoint/parking.ts', import.meta.url).pathname)};
    const parking = await ParkingStore.open({ path: ${JSON.stringify(path)}, maxBytes: 1e9, log: console });
    const at = { ns: 'a.b', reason: 'undecodable', detail: '', at: 0, payloadKind: 'entry', payload: Buffer.alloc(9) };
    const stop = new AbortController().signal;
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => parking.put({ ...at, subscription: 's', id: 'x:1.' + i + '.0' }, stop)),
    );
    await parking.close();`;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', code];
  const args = ['-f', '-qq', '-e', 'trace=fsync,fdatasync', '-o', trace, ...node];
  const { status, error } = spawnSync('strace', args, { encoding: 'utf8' });
  if (error !== undefined || status !== 0) return t.skip('there is no strace here');
  const calls = spawnSync('grep', ['-c', 'sync(', trace], { encoding: 'utf8' });
  const syncs = Number(calls.stdout);
  assert.ok(syncs >= 2 && syncs <= 12, `${syncs} syncs for 500 events`);
  return undefined;
});

test('a full store waits, says so, and goes on when there is room', async (t) => {
  const { parking, log } = await openParking(t, 2_000);
  const payload = Buffer.alloc(600);
  await parking.put(parked('shop:1.1.0', { payload }), never);
  await parking.put(parked('shop:1.2.0', { payload }), never);
  const { totalBytes } = parking;
  assert.equal(shortageOf(parking), undefined);
  let resolved = false;
  const waiting = parking.put(parked('shop:1.3.0', { payload }), never).then(() => (resolved = true));
  await sleep(50);
  assert.equal(resolved, false);
  const neededBytes = shortageOf(parking)?.neededBytes ?? 0;
  assert.ok(neededBytes > 2_000 && neededBytes < 2_000 + 1_000);
  assert.match(log.lines.join(), new RegExp(`error: .*full: 1 event .*parked.maxBytes.* to ${neededBytes} or more`));
  assert.equal(await parking.settle({ gone: [parked('shop:1.9.0')], kept: [] }), 0);
  assert.equal(await parking.settle({ gone: [parked('shop:1.1.0')], kept: [] }), 1);
  await waiting;
  assert.equal(shortageOf(parking), undefined);
  assert.equal(parking.totalBytes, totalBytes);
  assert.equal(parking.count('orders'), 2);
  assert.deepEqual(
    [...parking.list()].map(({ summary }) => summary.id),
    ['shop:1.2.0', 'shop:1.3.0'],
  );
});

test('what waits for room gives up when it is told to stop, and was not stored', async (t) => {
  const { parking } = await openParking(t, 500);
  await parking.put(parked('shop:1.1.0'), never);
  const stop = new AbortController();
  const waiting = parking.put(parked('shop:1.2.0', { payload: Buffer.alloc(400) }), stop.signal);
  stop.abort(new Error('shutting down'));
  await assert.rejects(waiting, /shutting down/);
  assert.equal(shortageOf(parking), undefined);
  assert.equal(parking.count('orders'), 1);
});

test('one event larger than the bound is taken when the store is empty', async (t) => {
  const { parking } = await openParking(t, 100);
  await parking.put(parked('shop:1.1.0', { payload: Buffer.alloc(5_000) }), never);
  assert.equal(parking.count('orders'), 1);
});

test('events are listed in oplog order, and by subscription and reason', async (t) => {
  const { parking } = await openParking(t);
  const ids = ['shop:10.1.0', 'shop:9.2.0', 'shop:9.10.0', 'shop:9.2.1', 'shop:9.2.10'];
  for (const id of ids) await parking.put(parked(id), never);
  await parking.put(parked('shop:9.1.0', { subscription: 'orders2', reason: 'too-large' }), never);
  await parking.put(parked('shop:9.1.0', { reason: 'too-large' }), never);
  const list = (filter: Parameters<ParkingStore['list']>[0]): string[] =>
    [...parking.list(filter)].map(({ summary: { subscription, id } }) => `${subscription} ${id}`);
  assert.deepEqual(list({ subscription: 'orders', reason: 'undecodable' }), [
    'orders shop:9.2.0',
    'orders shop:9.2.1',
    'orders shop:9.2.10',
    'orders shop:9.10.0',
    'orders shop:10.1.0',
  ]);
  assert.deepEqual(list({ subscription: 'orders2' }), ['orders2 shop:9.1.0']);
  assert.deepEqual(list({ reason: 'too-large' }), ['orders shop:9.1.0', 'orders2 shop:9.1.0']);
  assert.equal(list({}).length, 7);
});

test('ids and names of any length and content can be parked and told apart', async (t) => {
  const { parking } = await openParking(t);
  const long = 'x'.repeat(5_000);
  const ids = [`${long}a`, `${long}b`, `${long}:1.2.3`, 'with a \0 in it', 'é'.repeat(700), ''];
  for (const id of ids) await parking.put(parked(id, { subscription: long }), never);
  assert.equal(parking.count(long), ids.length);
  for (const id of ids) assert.equal(parking.read({ subscription: long, id })?.id, id);
  assert.equal([...parking.list({ subscription: long })].length, ids.length);
});

test('a disk that is full holds what is parked, and it is stored once there is room', async (t) => {
  if (spawnSync('prlimit', ['--version']).error !== undefined) return t.skip('there is no prlimit here');
  const path = await temporaryFolder(t);
  // A limit on the file’s size, which prlimit can lift again, is the nearest thing to a full disk without being root.
  const child = startChild(
    t,
    `import { ParkingStore, SLICE } from 'CHECKPOINT/parking.ts';
     import { parked } from 'CHECKPOINT/../../test/checkpoint/fixtures.ts';
     import { execFileSync } from 'node:child_process';
     const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
     const lines = [];
     const log = { error: (_, text) => lines.push(text), warn() {}, info: (_, text) => lines.push(text) };
     const parking = await ParkingStore.open({ path: ${JSON.stringify(path)}, maxBytes: 1e9, log });
     limit(200_000);
     const put = parking.put(parked('shop:1.1.0', { payload: Buffer.alloc(1_000_000) }), new AbortController().signal);
     await new Promise((resolve) => setTimeout(resolve, 300));
     console.log(parking.failing === undefined ? 'not failing' : 'failing');
     limit('unlimited');
     await put;
     console.log(parking.failing === undefined ? 'mended' : 'still failing');
     console.log(lines.length);
     await parking.close();`,
  );
  await child.line('failing');
  await child.line('mended');
  await child.line('2');
  await using parking = await ParkingStore.open({ path, maxBytes: 1e9, log: recordedLog() });
  assert.equal(parking.read({ subscription: 'orders', id: 'shop:1.1.0' })?.payload.byteLength, 1_000_000);
  return undefined;
});

test('slices put together are the whole list, in order, whatever is asked for; a look leaves large payloads where they are', async (t) => {
  const { parking } = await openParking(t);
  const events = 2 * SLICE + 10;
  const subscriptions = ['a', 'b'];
  await Promise.all(
    Array.from({ length: events }, (_, i) =>
      parking.put(parked(`src:${i}.1.0`, { subscription: subscriptions[i % 2]!, payload: Buffer.alloc(i) }), never),
    ),
  );
  for (const filter of [{}, { subscription: 'b' }, { since: { seconds: 300, increment: 0 } }, { reason: 'refused' }]) {
    const ids: string[] = [];
    let slices = 0;
    for (let after: ParkedKey | undefined; ;) {
      const { found, last } = parking.slice(filter, after);
      ids.push(...found.map(({ summary }) => summary.id));
      slices += 1;
      if (last === undefined) break;
      after = last;
    }
    assert.deepEqual(
      ids,
      [...parking.list(filter)].map(({ summary }) => summary.id),
    );
    assert.ok(slices <= events / SLICE + 1);
  }
  const { key } = parking.slice({}).found.find(({ bytes }) => bytes === 100)!;
  assert.equal(parking.look(key, 100)?.payload?.length, 100);
  assert.equal(parking.look(key, 99)?.payload, undefined);
  assert.equal(parking.look(key, 99)?.bytes, 100);
  assert.equal(parking.look(['a', 'nothing'], 100), undefined);
});
