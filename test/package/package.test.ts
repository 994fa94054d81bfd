/**
 * The package as npm would publish it, installed into an empty folder without its dependencies' scripts, and used from there: with the
 * Node at hand, or with those that `npm run test:package` names.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MongoClient } from 'mongodb';
import { stringify } from 'yaml';
import { until } from '../harness/engine-process.ts';
import { nodeFolder } from '../servers/node-binary.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';
import { install, pack } from './packed.ts';
import type { Installed, Packed } from './packed.ts';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
/** Versions of Node, separated by commas. */
const NODES = process.env['TAILRACE_TEST_NODES']?.split(',') ?? [undefined];

/** Of the tarball; what is added to it is downloaded at every installation. */
const MOST_BYTES = 1 << 20;

let packed: Packed;
let mongo: Shared;
let client: MongoClient;

before(async () => {
  [packed, mongo] = await Promise.all([pack(), sharedMongo()]);
  client = await MongoClient.connect(mongo.uri);
});

after(async () => {
  await client?.close();
  await mongo?.stop();
  await packed?.[Symbol.asyncDispose]();
});

test('what is packed is small, was built by packing, and holds neither sources nor tests nor benches', (t) => {
  const { files, bytes, unpackedBytes } = packed;
  t.diagnostic(`tarball: ${bytes} bytes, ${unpackedBytes} unpacked, ${files.length} files`);
  assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
  for (const path of [
    'dist/cli.js',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/worker/main.js',
    'docs/errors/usage.md',
    'dist/console/index.html',
  ])
    assert.ok(files.includes(path), path);
  const tops = new Set(files.map((path) => path.split('/', 1)[0]!));
  assert.deepEqual([...tops].toSorted(byName), [
    'LICENSE',
    'README.md',
    'deploy',
    'dist',
    'docs',
    'examples',
    'grafana',
    'package.json',
  ]);
  assert.deepEqual(
    files.filter((path) => /\.test\.|\.map$|(?<!\.d)\.ts$/.test(path)),
    [],
  );
});

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}

for (const version of NODES) {
  describe(version === undefined ? 'with the Node at hand' : `with Node ${version}`, () => {
    let place: Installed;
    before(async () => {
      place = await install(packed.tarball, version === undefined ? undefined : await nodeFolder(version));
    });
    after(async () => place?.[Symbol.asyncDispose]());

    test('it is the Node that is meant', async () => {
      const { stdout } = await exec('node', ['--version'], place);
      assert.equal(stdout.trim(), version === undefined ? process.version : `v${version}`);
    });

    test('npx tailrace tail prints a change', async () => {
      const database = client.db(`package_${process.pid}`);
      const args = ['--no', 'tailrace', 'tail', mongo.uri, '--ns', `${database.databaseName}.*`];
      // A group of its own, as a terminal would make: npx, its shell and Tailrace end together.
      const child = spawn('npx', args, {
        cwd: place.folder,
        env: place.env,
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
      const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
      try {
        // It says nothing when it has begun to read: what is written again and again is seen in the end.
        const first = (async (): Promise<string> => {
          for await (const line of createInterface({ input: child.stdout })) return line;
          throw new Error(`it has ended: ${said}`);
        })();
        let line: string | undefined;
        let failed: unknown;
        first.then((it) => (line = it)).catch((error: unknown) => (failed = error));
        await until('a line is printed', async () => {
          await database.collection('things').insertOne({ n: 1 });
          return line !== undefined || failed !== undefined;
        });
        const event = JSON.parse(await first) as { operationType: string; fullDocument: { n: number } };
        assert.equal(event.operationType, 'insert');
        assert.equal(event.fullDocument.n, 1);
      } finally {
        try {
          process.kill(-child.pid!, 'SIGINT');
        } catch {
          // Ended already.
        }
        await closed;
        await database.dropDatabase();
      }
    });

    test('tailrace run delivers, stores its position and ends on SIGTERM', async () => {
      const database = client.db(`package_run_${process.pid}`);
      const out = join(place.folder, 'out.ndjson');
      const config = {
        sources: { it: { uri: mongo.uri } },
        subscriptions: [{ name: 'all', namespaces: [`${database.databaseName}.*`], to: { file: out } }],
        http: { listen: 'off' },
      };
      await writeFile(join(place.folder, 'tailrace.yaml'), stringify(config));
      const child = spawn('node', ['node_modules/tailrace/dist/cli.js', 'run'], { cwd: place.folder, env: place.env });
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (said += text));
      const ended = new Promise<number | string | null>((resolve) =>
        child.once('close', (code, signal) => resolve(code ?? signal)),
      );
      try {
        await until('a change is delivered', async () => {
          if (child.exitCode !== null) assert.fail(said);
          await database.collection('things').insertOne({ n: 2 });
          return (await readFile(out, 'utf8').catch(() => '')).includes('"n":2');
        });
      } finally {
        child.kill('SIGTERM');
        await database.dropDatabase();
      }
      assert.equal(await ended, 0, said);
      const { stdout } = await exec('npx', ['--no', 'tailrace', 'checkpoint', 'show'], { ...place, cwd: place.folder });
      assert.match(stdout, /^all /m);
    });

    test('a program in JavaScript imports it and gets its errors', async () => {
      await writeFile(
        join(place.folder, 'program.js'),
        `import { tail, createEngine, UserError } from 'tailrace';
     try { for await (const _ of tail('http://nowhere')); } catch (error) { console.log(error instanceof UserError, error.message); }
     try { await createEngine({ config: {} }); } catch (error) { console.log(error.code); }`,
      );
      const { stdout, stderr } = await exec('node', ['program.js'], { ...place, cwd: place.folder });
      assert.equal(stderr, '');
      assert.equal(stdout, 'true uri: expected one that begins with mongodb:// or mongodb+srv://\nconfig-invalid\n');
    });

    test('a program in TypeScript has its types', async () => {
      const usage = await readFile(join(ROOT, 'test/library/usage.ts'), 'utf8');
      await writeFile(join(place.folder, 'usage.ts'), usage.replaceAll("'../../src/index.ts'", "'tailrace'"));
      const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2023', '--module', 'nodenext'];
      const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
      await exec(process.execPath, [TSC, ...options, ...types, 'usage.ts'], { cwd: place.folder }).catch(
        (error: unknown) => {
          assert.fail(error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error));
        },
      );
    });
  });
}
