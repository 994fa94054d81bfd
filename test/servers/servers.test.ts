import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
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
  try {
    const { primary, hosts } = await client.db('admin').command({ hello: 1 });
    await mongo.kill(hosts.indexOf(primary));
    const then = await client.db('admin').command({ hello: 1 });
    assert.notEqual(then['primary'], primary);
    await mongo.restart(hosts.indexOf(primary));
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

test(
  'servers of a process that was killed are killed too, and their folders removed',
  { timeout: 90_000 },
  async () => {
    const script = `
    const { startMongo } = await import(${JSON.stringify(new URL('index.ts', import.meta.url).href)});
    const mongo = await startMongo();
    console.log(JSON.stringify(mongo.pids));
    setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const [pid = 0] = JSON.parse(line.toString()) as number[];
    assert.ok(isAlive(pid));
    const folder = existsSync(`/proc/${pid}/cmdline`)
      ? /--dbpath\0([^\0]+)/.exec(
          await (await import('node:fs/promises')).readFile(`/proc/${pid}/cmdline`, 'utf8'),
        )?.[1]
      : undefined;
    child.kill('SIGKILL');
    await untilGone(pid);
    for (let i = 0; i < 100 && folder !== undefined && existsSync(folder); i += 1) await sleep(50);
    assert.ok(folder === undefined || !existsSync(folder));
  },
);

test('the proxy passes bytes, holds them while paused, and resets what is open when cut', async () => {
  const { createServer } = await import('node:net');
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
  const failed = once(socket, 'error');
  proxy.cut();
  assert.equal(((await failed)[0] as NodeJS.ErrnoException).code, 'ECONNRESET');
  await proxy.refuse();
  const refused = connect(proxy.port, '127.0.0.1');
  assert.equal(((await once(refused, 'error'))[0] as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  echo.close();
});
