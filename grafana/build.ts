/** `npm run dashboards`: writes the dashboards that are committed; a test fails where they differ from what is written here. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dashboards } from './src/dashboards.ts';

const folder = new URL('dashboards/', import.meta.url);
mkdirSync(folder, { recursive: true });
for (const [name, json] of dashboards()) writeFileSync(new URL(name, folder), json);
