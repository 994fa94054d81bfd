/**
 * Makes the console: `dist/console` with the page, scripts and styles under names that change with what is in them, each compressed as
 * browsers take it, and the licences of what is bundled. Users get the outcome; nothing is built on their side.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { build } from 'esbuild';

const HERE = new URL('./', import.meta.url);
const OUT = new URL('../dist/console/', HERE);
const BUNDLED = ['preact', '@preact/signals', '@preact/signals-core', 'uplot'];

const { outputFiles, metafile } = await build({
  entryPoints: ['src/main.tsx', 'src/style.css', 'icon.svg'].map((path) => fileURLToPath(new URL(path, HERE))),
  outdir: fileURLToPath(OUT),
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  assetNames: '[name]-[hash]',
  loader: { '.svg': 'copy' },
  bundle: true,
  splitting: true,
  format: 'esm',
  target: ['chrome123', 'firefox120', 'safari17.5'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: true,
  legalComments: 'none',
  metafile: true,
  write: false,
  absWorkingDir: fileURLToPath(HERE),
});

const strangers = Object.keys(metafile.inputs)
  .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
  .filter((name) => name !== undefined && !BUNDLED.includes(name));
if (strangers.length > 0) throw new Error(`bundled without their licences: ${[...new Set(strangers)].join(', ')}`);

await rm(OUT, { recursive: true, force: true });
await mkdir(OUT, { recursive: true });
const made = new Map(outputFiles.map(({ path, contents }) => [basename(path), Buffer.from(contents)]));
const page = (await readFile(new URL('index.html', HERE), 'utf8')).replaceAll(
  /\{(\w+)\.(\w+)\}/g,
  (_, name, ending) => {
    const found = [...made.keys()].find((file) => file.startsWith(`${name}-`) && file.endsWith(`.${ending}`));
    if (found === undefined) throw new Error(`index.html names ${name}.${ending}, which is not made`);
    return found;
  },
);
made.set('index.html', Buffer.from(page.replaceAll(/\n\s*/g, '\n')));
made.set('licenses.txt', Buffer.from((await Promise.all(BUNDLED.map(licence))).join('\n')));

for (const [name, contents] of made) {
  const [small, smallest] = await Promise.all([
    promisify(gzip)(contents, { level: 9 }),
    promisify(brotliCompress)(contents, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
  ]);
  await Promise.all([
    writeFile(new URL(name, OUT), contents),
    writeFile(new URL(`${name}.gz`, OUT), small),
    writeFile(new URL(`${name}.br`, OUT), smallest),
  ]);
}

async function licence(name: string): Promise<string> {
  const folder = new URL(`../node_modules/${name}/`, HERE);
  const { version } = JSON.parse(await readFile(new URL('package.json', folder), 'utf8')) as { version: string };
  return `${name} ${version}\n\n${await readFile(new URL('LICENSE', folder), 'utf8')}`;
}
