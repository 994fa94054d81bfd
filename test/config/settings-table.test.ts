import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { settingsList } from '../../src/config/settings-table.ts';

test('every setting has a description, which ends like a sentence', () => {
  const settings = settingsList();
  assert.ok(settings.length > 40);
  for (const { path, description } of settings) assert.match(description, /\.$/, path);
});

test('settings are listed by path, with the default as it is written', () => {
  const defaults = new Map(settingsList().map((setting) => [setting.path, setting.default]));
  assert.equal(defaults.get('sinks.NAME.window'), '256');
  assert.equal(defaults.get('sinks.NAME.maxMessageBytes'), '16MiB');
  assert.equal(defaults.get('subscriptions[].batch.linger'), '0ms');
  assert.equal(defaults.get('subscriptions[].operations'), '[insert, update, replace, delete]');
  assert.equal(defaults.get('subscriptions[].to.queues[].type'), 'classic');
  assert.ok(defaults.has('sources.NAME.uri'));
  assert.equal(defaults.get('sources.NAME.uri'), undefined);
  assert.equal(defaults.has('subscriptions[].batch'), false);
});

test('the README lists every setting with its default, and none that does not exist', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const rows = [...readme.matchAll(/^\| `([a-zA-Z[\].]+)` +\|[^\n]*\| (?:`([^`]*)`)? *\|$/gm)]
    .map(([, path, value]) => [path, value])
    .filter(([path]) => /[.[]|^(?:management|shutdownTimeout)$/.test(path!));
  assert.deepEqual(
    rows,
    settingsList().map((setting) => [setting.path, setting.default]),
  );
});
