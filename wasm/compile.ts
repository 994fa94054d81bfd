/**
 * Compiles `assembly/` (AssemblyScript: the syntax of TypeScript, the types of WebAssembly) into the module that
 * `src/worker/transcoder.ts` runs. What comes out is committed, so that nobody needs the compiler but who changes `assembly/`:
 *
 *     npm run wasm
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const MODULE = fileURLToPath(new URL('../src/worker/transcoder-module.ts', import.meta.url));

const here = fileURLToPath(new URL('.', import.meta.url));
const ASC = fileURLToPath(import.meta.resolve('assemblyscript/bin/asc.js'));
const FLAGS = ['-O3', '--converge', '--noAssert', '--runtime', 'stub', '--use', 'abort=', '--disableWarning'];
const FEATURES = ['--enable', 'simd', '--enable', 'bulk-memory'];

/** The text of the committed file. The same source gives the same text. */
export async function compile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-wasm-'));
  try {
    const outFile = join(folder, 'transcoder.wasm');
    const args = ['assembly/index.ts', '--outFile', outFile, ...FLAGS, ...FEATURES];
    // Not imported: its declarations would change what TypeScript knows of arrays, everywhere.
    await promisify(execFile)(process.execPath, [ASC, ...args], { cwd: here });
    return moduleText(await readFile(outFile));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function moduleText(wasm: Uint8Array): string {
  const lines = Buffer.from(wasm)
    .toString('base64')
    .match(/.{1,110}/g)!;
  return `/** Made by \`npm run wasm\` from \`wasm/assembly/\`; not to be edited. */
export const TRANSCODER_MODULE =
${lines.map((line) => `  '${line}'`).join(' +\n')};
`;
}
