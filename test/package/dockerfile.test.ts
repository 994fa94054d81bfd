/** The image, as far as it can be tried without Docker; it installs all dependencies anew, so only `npm run test:package` runs it whole. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MongoClient } from 'mongodb';
import { stringify } from 'yaml';
import { until } from '../harness/engine-process.ts';
import { hadolint } from '../servers/hadolint.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';
import { buildImage, inside, putNode } from './dockerfile.ts';
import type { Image } from './dockerfile.ts';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WHOLE = process.env['TAILRACE_TEST_NODES'] !== undefined;

test('hadolint finds nothing in the Dockerfile', { skip: !WHOLE && 'npm run test:package' }, async () => {
  const { stdout } = await exec(await hadolint(), [join(ROOT, 'Dockerfile')]).catch(
    (error: unknown) => error as { stdout: string },
  );
  assert.equal(stdout, '');
});

const unfit = process.getuid?.() === 0 && process.platform === 'linux' ? undefined : 'it takes root on Linux';

describe('what the Dockerfile makes', { skip: WHOLE ? unfit : 'npm run test:package' }, () => {
  let folder: string;
  let mongo: Shared;
  let image: Image;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tailrace-image-'));
    [image, mongo] = await Promise.all([buildImage(ROOT, folder), sharedMongo()]);
    await putNode(image.root);
  });
  after(async () => {
    await mongo?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const run = async (...words: string[]): Promise<string> => {
    const [command = '', ...args] = inside(image, words);
    return (await exec(command, args)).stdout;
  };

  test('it holds what is needed and no more', async (t) => {
    const { stdout } = await exec('du', ['-sk', '--apparent-size', join(image.root, 'app')]);
    t.diagnostic(`/app: ${Number.parseInt(stdout, 10)} KiB`);
    const { stdout: files } = await exec('find', [join(image.root, 'app'), '-maxdepth', '1', '-printf', '%f\n']);
    assert.deepEqual(
      files
        .trim()
        .split('\n')
        .slice(1)
        .toSorted((a, b) => (a < b ? -1 : 1)),
      ['dist', 'docs', 'healthcheck.mjs', 'node_modules', 'package.json'],
    );
    await assert.rejects(readFile(join(image.root, 'app/node_modules/typescript/package.json')));
    assert.match(await run(...image.entrypoint, '--version'), /^\d+\.\d+\.\d+\n$/);
    assert.match(await run(...image.entrypoint, 'explain', 'usage'), /^# usage\n/);
  });

  test('not as root, on a root that cannot be written to, it delivers, is healthy, and ends on its stop signal', async () => {
    const database = `image_${process.pid}`;
    const config = {
      sources: { it: { uri: mongo.uri } },
      subscriptions: [{ name: 'all', namespaces: [`${database}.*`], to: { file: '/var/lib/tailrace/out.ndjson' } }],
      checkpoint: { path: '${STATE_DIRECTORY}' },
    };
    await writeFile(join(image.root, 'etc/tailrace/tailrace.yaml'), stringify(config));
    const healthy = async (): Promise<boolean> =>
      run(...image.healthcheck).then(
        () => true,
        () => false,
      );
    assert.equal(await healthy(), false);
    await assert.rejects(run('/nodejs/bin/node', '-e', "fs.writeFileSync('/app/x', '')"), /EROFS/);
    const [command = '', ...args] = inside(image, [...image.entrypoint, ...image.command]);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const ended = new Promise<number | string | null>((resolve) =>
      child.once('close', (code, signal) => resolve(code ?? signal)),
    );
    const client = await MongoClient.connect(mongo.uri);
    try {
      await until('a change is delivered', async () => {
        if (child.exitCode !== null) assert.fail(said);
        await client.db(database).collection('things').insertOne({ n: 3 });
        const out = await readFile(join(image.root, 'var/lib/tailrace/out.ndjson'), 'utf8').catch(() => '');
        return out.includes('"n":3');
      });
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      assert.match(status, /^Uid:\s+65532\s+65532/m);
      assert.equal(await healthy(), true);
    } finally {
      // What is started takes the place of what starts it, so the process is its own.
      child.kill(image.stopSignal as NodeJS.Signals);
      await client.db(database).dropDatabase();
      await client.close();
    }
    assert.equal(await ended, 0, said);
  });
});
