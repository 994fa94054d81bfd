/** `npm run test:chart`: the Helm chart as helm renders it, held against the schemas of several Kubernetes versions. */
import { spawn } from 'node:child_process';
import { helm } from '../servers/helm.ts';

const path = await helm((line) => console.log(line));
const child = spawn(
  process.execPath,
  ['--import', 'tsx', '--test', '--test-reporter=spec', 'test/chart/chart.test.ts'],
  {
    stdio: 'inherit',
    env: { ...process.env, TAILRACE_TEST_HELM: path },
  },
);
child.once('exit', (code) => (process.exitCode = code ?? 1));
