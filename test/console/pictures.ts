/** `npm run pictures`: takes the README's pictures from what the console's tests have just seen. */
import { copyFile, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PICTURES } from './browser.ts';

const OUT = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const TAKEN = { 'overview-well-light': 'console-overview', 'events-open-dark': 'console-events' };
/** They are in every clone. */
const MOST_BYTES = 150_000;

await mkdir(OUT, { recursive: true });
for (const [seen, name] of Object.entries(TAKEN)) {
  const from = join(PICTURES, `${seen}.png`);
  const { size } = await stat(from);
  if (size > MOST_BYTES) throw new Error(`${from} has ${size} bytes: at most ${MOST_BYTES}`);
  await copyFile(from, join(OUT, `${name}.png`));
  console.log(`docs/images/${name}.png: ${size} bytes`);
}
