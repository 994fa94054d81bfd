import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import { onBroker } from '../harness/on-broker.ts';

const SCRIPT = fileURLToPath(new URL('../../bench/servers.ts', import.meta.url));

test('`npm run servers` brings up both, says where they are, and takes them away when it is told to end', async (t) => {
  const child = spawn(process.execPath, ['--import', 'tsx', SCRIPT], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  for await (const text of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    said += String(text);
    if (/^ *export .*\n/m.test(said)) break;
  }
  const { mongodb = '', amqp = '' } =
    /^ *export MONGODB_URI='(?<mongodb>[^']+)' AMQP_URI='(?<amqp>[^']+)'$/m.exec(said)?.groups ?? {};
  await using client = await MongoClient.connect(mongodb);
  assert.equal((await client.db().command({ hello: 1 }))['setName'], 'rs0');
  await onBroker(amqp, async (channel) => channel.assertQueue('', { exclusive: true }));

  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  await assert.rejects(
    onBroker(amqp, async () => {}),
    /ECONNREFUSED/,
  );
});
