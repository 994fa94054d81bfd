/** `npm run wasm`: writes the compiled transcoder where `src` finds it. */
import { writeFile } from 'node:fs/promises';
import { MODULE, compile } from './compile.ts';

await writeFile(MODULE, await compile());
console.log(`${MODULE} is up to date.`);
