import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as amqp } from 'amqplib';
import { MongoClient } from 'mongodb';
import { startMongo, startProxy, startRabbit } from './index.ts';
import { isAlive, untilGone } from './run.ts';

async function count(uri: string): Promise<number> {
  const client = new MongoClient(uri);
  try {
    return await client.db('servers').collection('kept').countDocuments();
  } finally {
    await client.close();
  }
}

function placeOf(uri: string, member: string): number {
  return uri
    .replaceAll(/^mongodb:..|[/][?].*$/g, '')
    .split(',')
    .indexOf(member);
}

function errorCode(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
}

test('mongod keeps its data over a restart and over a kill, and is gone after stop', { timeout: 90_000 }, async () => {
  const mongo = await startMongo();
  const pids = [...mongo.pids];
  try {
    const client = new MongoClient(mongo.uri);
    await client
      .db('servers')
      .collection('kept')
      .insertOne({}, { writeConcern: { w: 'majority', journal: true } });
    await client.close();
    await mongo.restart();
    assert.equal(await count(mongo.uri), 1);
    pids.push(...mongo.pids);
    await mongo.kill();
    assert.deepEqual(mongo.pids, [0]);
    await mongo.restart();
    assert.equal(await count(mongo.uri), 1);
    pids.push(...mongo.pids);
  } finally {
    await mongo.stop();
  }
  assert.equal(new Set(pids).size, 3);
  assert.deepEqual(pids.filter(isAlive), []);
});

test('a set of three members elects another primary when one is killed', { timeout: 90_000 }, async () => {
  const mongo = await startMongo({ members: 3 });
  const client = new MongoClient(mongo.uri);
  const primary = async (): Promise<string> => {
    // A write is tried again on the new primary; the command behind it would not be.
    await client.db('servers').collection('kept').insertOne({});
    return String((await client.db('admin').command({ hello: 1 }))['primary']);
  };
  try {
    const first = await primary();
    await mongo.kill(placeOf(mongo.uri, first));
    assert.notEqual(await primary(), first);
    await mongo.restart(placeOf(mongo.uri, first));
    assert.equal(mongo.pids.filter(isAlive).length, 3);
  } finally {
    await client.close();
    await mongo.stop();
  }
});

test(
  'RabbitMQ keeps durable messages over a restart and over a kill, and is gone after stop',
  {
    timeout: 120_000,
  },
  async () => {
    const rabbit = await startRabbit();
    const pids = [rabbit.pid];
    try {
      const connection = await amqp(rabbit.uri);
      const channel = await connection.createConfirmChannel();
      await channel.assertQueue('kept', { durable: true });
      channel.sendToQueue('kept', Buffer.from('x'), { persistent: true });
      await channel.waitForConfirms();
      await connection.close();
      const listed = async (): Promise<string> => rabbit.ctl(['--quiet', 'list_queues', '--no-table-headers']);
      await rabbit.restart();
      assert.equal((await listed()).trim(), 'kept\t1');
      pids.push(rabbit.pid);
      await rabbit.kill();
      assert.equal(rabbit.pid, 0);
      await rabbit.restart();
      assert.equal((await listed()).trim(), 'kept\t1');
      pids.push(rabbit.pid);
    } finally {
      await rabbit.stop();
    }
    assert.equal(new Set(pids).size, 3);
    assert.deepEqual(pids.filter(isAlive), []);
  },
);

test('a memory alarm blocks publishers until it is lifted', { timeout: 90_000 }, async () => {
  const rabbit = await startRabbit();
  try {
    const connection = await amqp(rabbit.uri);
    const channel = await connection.createChannel();
    await rabbit.setMemoryAlarm(true);
    const blocked = once(connection, 'blocked');
    channel.publish('amq.fanout', '', Buffer.from('x'));
    await blocked;
    const unblocked = once(connection, 'unblocked');
    await rabbit.setMemoryAlarm(false);
    await unblocked;
    await connection.close();
  } finally {
    await rabbit.stop();
  }
});

test('the broker of a killed process is killed too, and its folder removed', { timeout: 90_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-reaped-'));
  const script = `
    const { startRabbit } = await import(${JSON.stringify(new URL('index.ts', import.meta.url).href)});
    console.log((await startRabbit()).pid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: folder },
  });
  const [line]: unknown[] = await once(child.stdout, 'data');
  const pid = Number(String(line));
  assert.ok(isAlive(pid));
  assert.ok((await leftovers(folder)).length > 0);
  child.kill('SIGKILL');
  await untilGone(pid);
  for (let i = 0; i < 200 && (await leftovers(folder)).length > 0; i += 1) await sleep(50);
  assert.deepEqual(await leftovers(folder), []);
  await rm(folder, { recursive: true });
});

async function leftovers(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('tailrace-'));
}

test('the proxy passes bytes, holds them while paused, and resets what is open when cut', async () => {
  const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const address = echo.address();
  assert.ok(address !== null && typeof address === 'object');
  await using proxy = await startProxy({ to: address.port });
  const socket = connect(proxy.port, '127.0.0.1');
  const received: string[] = [];
  socket.on('data', (bytes) => received.push(bytes.toString()));
  socket.write('a');
  await once(socket, 'data');
  proxy.pause();
  socket.write('b');
  await sleep(100);
  assert.deepEqual(received, ['a']);
  proxy.resume();
  await once(socket, 'data');
  assert.deepEqual(received, ['a', 'b']);
  const failed = errorCode(socket);
  proxy.cut();
  assert.equal(await failed, 'ECONNRESET');
  await proxy.refuse();
  assert.equal(await errorCode(connect(proxy.port, '127.0.0.1')), 'ECONNREFUSED');
  echo.close();
});

test('the proxy is silent one way, slow, and resets a connection after so many bytes', async () => {
  const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const address = echo.address();
  assert.ok(address !== null && typeof address === 'object');
  await using proxy = await startProxy({ to: address.port });
  const socket = connect(proxy.port, '127.0.0.1');
  const received: string[] = [];
  socket.on('data', (bytes) => received.push(bytes.toString()));
  await once(socket, 'connect');
  proxy.pause('toClient');
  socket.write('a');
  await sleep(100);
  assert.deepEqual(received, []);
  proxy.resume();
  await once(socket, 'data');
  proxy.slow({ delayMs: 100 });
  const began = performance.now();
  socket.write('b');
  await once(socket, 'data');
  assert.ok(performance.now() - began >= 190, 'each way takes its time');
  proxy.slow(undefined);
  assert.deepEqual(received, ['a', 'b']);
  socket.destroy();

  proxy.resetNext([{ direction: 'toClient', bytes: 3 }]);
  const short = connect(proxy.port, '127.0.0.1');
  let got = '';
  short.on('data', (bytes) => (got += bytes.toString())).on('error', () => {});
  short.write('abcdef');
  await once(short, 'close');
  assert.equal(got, 'abc');
  assert.equal(proxy.resets, 1);
  echo.close();
});
