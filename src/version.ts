/** The package's version, read from its own package.json: beside `src` when run unbuilt, beside `dist` when built. */
import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

export const VERSION = manifest.version;
