import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { UserError } from '../src/errors.ts';
import { noLog } from '../src/library/no-log.ts';
import { connectFault, connectTo } from '../src/sinks/connect.ts';
import { ReplicaSet } from '../src/source/replica-set.ts';
import type { SinkConfig } from '../src/config/config.ts';

/** Nothing answers there, and nothing need: files are read first. */
const NOBODY = '127.0.0.1:1';

const refused = (path: string, code: string): ((error: unknown) => boolean) => {
  return (error) =>
    error instanceof UserError &&
    error.code === 'config-invalid' &&
    error.message.includes(path) &&
    error.message.includes(code);
};

test('a folder in the place of a certificate or key of a sink is refused, and the setting named', async () => {
  for (const setting of ['ca', 'cert', 'key']) {
    const config = {
      name: 'mq',
      uri: `amqps://${NOBODY}`,
      heartbeatMs: 10_000,
      tls: { [setting]: tmpdir() },
    } as unknown as SinkConfig;
    const failure: unknown = await connectTo(config, { connectionName: 'a test', timeoutMs: 1_000 }).catch(
      (error: unknown) => error,
    );
    const fault = connectFault(failure, config);
    assert.ok(refused(tmpdir(), 'EISDIR')(fault), String(fault));
    assert.match(String(fault), new RegExp(`sink "mq": the file of \`sinks\\.mq\\.tls\\.${setting}\` cannot be read`));
  }
});

test("so is one in a source's URI, and a file that is not there", async () => {
  for (const setting of ['tlsCAFile', 'tlsCRLFile', 'tlsCertificateKeyFile']) {
    for (const [path, code] of [
      [tmpdir(), 'EISDIR'],
      ['/none/such.pem', 'ENOENT'],
    ] as const) {
      const uri = `mongodb://${NOBODY}/?replicaSet=rs0&tls=true&${setting}=${encodeURIComponent(path)}`;
      const set = new ReplicaSet({ source: 'shop', uri, ioTimeoutMs: 1_000, log: noLog });
      try {
        await assert.rejects(set.pick(AbortSignal.timeout(20_000)), refused(path, code));
      } finally {
        await set.close();
      }
    }
  }
});
