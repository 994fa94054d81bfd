/** The package as npm would publish it, unpacked into an empty folder and used from there. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tailrace-package-'));
  const packed = await exec('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: ROOT });
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  const modules = join(folder, 'node_modules');
  await mkdir(join(modules, 'tailrace'), { recursive: true });
  await exec('tar', ['xzf', join(folder, filename), '-C', join(modules, 'tailrace'), '--strip-components=1']);
  // What npm would install beside it; nothing of it can be imported from the folder itself.
  await symlink(join(ROOT, 'node_modules'), join(modules, 'tailrace', 'node_modules'));
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
});

after(() => rm(folder, { recursive: true, force: true }));

test('a program in JavaScript imports it and gets its errors', async () => {
  await writeFile(
    join(folder, 'program.js'),
    `import { tail, createEngine, UserError } from 'tailrace';
     try { for await (const _ of tail('http://nowhere')); } catch (error) { console.log(error instanceof UserError, error.message); }
     try { await createEngine({ config: {} }); } catch (error) { console.log(error.code); }`,
  );
  const { stdout, stderr } = await exec(process.execPath, ['program.js'], { cwd: folder, timeout: 20_000 });
  assert.equal(stderr, '');
  assert.equal(stdout, 'true uri: expected one that begins with mongodb:// or mongodb+srv://\nconfig-invalid\n');
});

test('a program in TypeScript has its types', async () => {
  const usage = await readFile(join(ROOT, 'test/library/usage.ts'), 'utf8');
  await writeFile(join(folder, 'usage.ts'), usage.replaceAll("'../../src/index.ts'", "'tailrace'"));
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2023', '--module', 'nodenext'];
  const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
  await exec(process.execPath, [tsc, ...options, ...types, 'usage.ts'], { cwd: folder }).catch((error: unknown) => {
    assert.fail(error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error));
  });
});

test('the command is in it', async () => {
  const { stdout } = await exec(process.execPath, ['node_modules/tailrace/dist/cli.js', '--version'], { cwd: folder });
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});
