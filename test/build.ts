/** Compiles the sources, and bundles the console, to `dist`, which the demo, the benches and the tests of the command run as a user does. */
import { fileURLToPath } from 'node:url';
import { run } from './servers/run.ts';

export async function build(): Promise<void> {
  const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
  try {
    await run(process.execPath, [at('node_modules/typescript/bin/tsc'), '-p', at('tsconfig.build.json')], {
      timeoutMs: 180_000,
    });
    const tsx = import.meta.resolve('tsx');
    await run(process.execPath, ['--import', tsx, at('console/build.ts')], { timeoutMs: 60_000 });
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`the build fails:\n${output}`, { cause: error });
  }
}
