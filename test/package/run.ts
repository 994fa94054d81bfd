/** `npm run test:package`: the package on the oldest Node that it takes, and on the newest of each line that is kept. */
import { spawn } from 'node:child_process';
import { nodeFolder } from '../servers/node-binary.ts';

const NODES = ['20.19.0', '22.23.3', '24.21.0'];

for (const version of NODES) await nodeFolder(version, (line) => console.log(line));
const args = [
  '--import',
  'tsx',
  '--test',
  '--test-reporter=spec',
  '--test-concurrency=1',
  'test/package/package.test.ts',
  'test/package/dockerfile.test.ts',
];
const child = spawn(process.execPath, args, {
  stdio: 'inherit',
  env: { ...process.env, TAILRACE_TEST_NODES: NODES.join() },
});
child.once('exit', (code) => (process.exitCode = code ?? 1));
