/** Sources, sinks and subscriptions are added, changed, removed and brought back in the console. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { noChromium } from './browser.ts';
import type { WatchedPage } from './browser.ts';
import { illEngine, onlineEngine } from './engines.ts';
import { settled, useConsole } from './use-console.ts';

const DB = 'console_forms';

describe('forms of the console', { skip: noChromium }, () => {
  const { show, servers } = useConsole({
    online: async (servers) => onlineEngine(servers, DB),
    file: async (servers) => illEngine(servers, `${DB}_file`),
  });

  /** By its path in the configuration. */
  const field = (page: Page, path: string): Locator => page.locator(`#field-${path}`);

  const save = async ({ page }: WatchedPage, name: string): Promise<void> =>
    page.getByRole('button', { name, exact: true }).click();

  test('a subscription is added: what is wrong is said as it is typed, and it is not saved before it is right', async () => {
    const watched = await show('online', 'subscriptions');
    const { page } = watched;
    await page.getByRole('link', { name: 'Add a subscription' }).click();
    await page.getByRole('heading', { level: 1, name: /Add a subscription/ }).waitFor();
    await settled(page);
    // Nobody is told of what they have not come to.
    assert.equal(await page.getByText('Not yet as it should be').count(), 0);
    await watched.assertAccessible('an empty form');
    await field(page, 'namespaces').fill('!nothing');
    await page
      .locator('#field-namespaces-fault')
      .getByText(/at least one pattern that includes something/)
      .waitFor();
    assert.equal(await field(page, 'namespaces').getAttribute('aria-invalid'), 'true');
    await save(watched, 'Add subscription');
    await page.getByText('A name is needed.').waitFor();
    await watched.assertAccessible('a form with faults');
    await watched.picture('form-faults');
    assert.match(page.url(), /add\/subscription/);

    await field(page, 'name').fill('audit');
    await field(page, 'source').selectOption('shop');
    await field(page, 'namespaces').fill(`${DB}.*`);
    await field(page, 'to-sink').selectOption('rabbit');
    await field(page, 'to-queue').fill(`${DB}-audit`);
    await page.getByText('Not yet as it should be').waitFor({ state: 'detached' });
    await page.getByLabel('Changed by').fill('me');
    await save(watched, 'Add subscription');
    await page.getByRole('heading', { level: 1, name: /audit$/ }).waitFor();
    await page.locator('.badge').getByText('flowing').waitFor();
    await servers.client.db(DB).collection('orders').insertOne({ n: 1 });
    await page.getByText('1 confirmed').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('one is changed, as fields and as JSON; what an engine refuses is shown; secrets stay what they were', async () => {
    const watched = await show('online', 'sinks/rabbit');
    const { page } = watched;
    await page.getByRole('link', { name: 'Change', exact: true }).click();
    await settled(page);
    assert.match(await field(page, 'uri').inputValue(), /\(hidden\)@/);
    await field(page, 'window').fill('0');
    await page.locator('#field-window-fault').getByText('a whole number from 1 to 10000').waitFor();
    await field(page, 'window').fill('64');
    await page.getByText('Not yet as it should be').waitFor({ state: 'detached' });
    await page.getByRole('radio', { name: 'JSON' }).check();
    assert.match(await field(page, 'json').inputValue(), /"window": 64/);
    await field(page, 'json').fill('{ "uri": ');
    await page.getByText(/No JSON yet/).waitFor();
    await field(page, 'json').fill('{ "uri": "amqp://127.0.0.1:1" }');
    await page.getByText(/No JSON yet/).waitFor({ state: 'detached' });
    await save(watched, 'Save');
    await page
      .getByRole('alert')
      .getByText(/cannot be reached: .*127\.0\.0\.1:1/)
      .waitFor({ timeout: 30_000 });
    await watched.assertAccessible('a refused change');
    await page.getByRole('link', { name: 'Cancel' }).click();
    await page.getByRole('link', { name: 'Change', exact: true }).click();
    await field(page, 'window').fill('64');
    await save(watched, 'Save');
    const configuration = page.getByRole('region', { name: 'Configuration of rabbit' });
    await configuration.getByText('"window": 64').waitFor();
    await page.locator('.badge').getByText('connected').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('what a subscription would match is shown before it is saved, and whether an end can be reached', async () => {
    const watched = await show('online', 'add/subscription');
    const { page } = watched;
    await servers.client.db(DB).collection('previewed').insertOne({ name: '<i>shown</i>' });
    const preview = page.getByRole('button', { name: 'Preview' });
    await preview.waitFor();
    assert.equal(await preview.isDisabled(), true);
    await field(page, 'source').selectOption('shop');
    await field(page, 'namespaces').fill(`${DB}.previewed`);
    await field(page, 'to-sink').selectOption('rabbit');
    await field(page, 'to-queue').fill(`${DB}-previewed`);
    await preview.click();
    await page.getByRole('row', { name: `${DB}.previewed insert 1` }).waitFor();
    assert.match(await page.getByRole('region', { name: /^Sample message/ }).innerText(), /"name": "<i>shown<\/i>"/);
    await watched.assertAccessible('a preview');
    await watched.picture('form-preview');

    await page.goto(page.url().replace(/#.*/, '#/change/sink?name=rabbit'));
    const trial = page.getByRole('button', { name: 'Test the connection' });
    await trial.click();
    await page.locator('.reasons .good').first().waitFor();
    await field(page, 'uri').fill('amqp://127.0.0.1:1');
    await trial.click();
    await page.locator('.reasons .bad').first().waitFor();
    await watched.assertAccessible('a connection that was tested');
    watched.assertQuiet();
    await watched.close();
  });

  test('a subscription is moved, once it was said what that repeats; where it cannot go, it is said', async () => {
    const watched = await show('online', 'checkpoint');
    const { page } = watched;
    await page.getByRole('button', { name: 'Move orders' }).click();
    const dialog = page.getByRole('dialog', { name: 'Move orders?' });
    const move = dialog.getByRole('button', { name: 'Move', exact: true });
    assert.equal(await move.isDisabled(), true);
    const position = dialog.getByLabel('Read on from');
    await position.fill('yesterday');
    await dialog.getByRole('button', { name: 'Try it' }).click();
    await dialog.getByRole('alert').getByText('body.position').first().waitFor();
    assert.equal(await move.isDisabled(), true);
    await position.fill('earliest');
    await page.keyboard.press('Enter');
    await dialog.getByText('would be delivered once more').waitFor();
    await watched.assertAccessible('a trial of a move');
    // What was tried is what is done, and nothing else.
    await position.fill('latest');
    assert.equal(await move.isDisabled(), true);
    await position.fill('earliest');
    await move.click();
    await dialog.waitFor({ state: 'detached' });
    await servers.client.db(DB).collection('orders').insertOne({ n: 2 });
    await page.getByRole('link', { name: 'orders' }).click();
    await page.locator('.badge').getByText('flowing').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('one is removed, once that was confirmed, and comes back with an earlier version', async () => {
    const watched = await show('online', 'subscriptions/audit');
    const { page } = watched;
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog', { name: 'Remove audit?' }).getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('heading', { level: 1, name: 'Subscriptions' }).waitFor();
    await page.getByText('1 of 1').waitFor();
    await page.getByRole('link', { name: 'Changes', exact: true }).click();
    await page.getByRole('row', { name: /subscription audit removed/ }).waitFor();
    await page.getByRole('row', { name: /me subscription audit added/ }).waitFor();
    await settled(page);
    await watched.assertAccessible('the changes');
    await watched.picture('changes');
    await page.getByRole('button', { name: /^3/ }).click();
    await page.getByRole('region', { name: 'Version 3, whole' }).getByText('"window": 64').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Restore version 3' }).click();
    const dialog = page.getByRole('dialog', { name: 'Restore version 3?' });
    await dialog.getByText('subscription audit added').waitFor();
    await watched.assertAccessible('asking whether to restore');
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click();
    await page.getByText('version 3 restored').waitFor();
    await page.getByRole('link', { name: 'Subscriptions', exact: true }).click();
    await page.getByText('2 of 2').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('a source that is needed is not removed, and it is said why', async () => {
    const watched = await show('online', 'sources/shop');
    const { page } = watched;
    await page.getByRole('button', { name: 'Remove' }).click();
    const dialog = page.getByRole('dialog', { name: 'Remove shop?' });
    await dialog.getByRole('button', { name: 'Remove' }).click();
    await dialog.getByRole('alert').waitFor();
    await watched.assertAccessible('a refusal in a dialog');
    await watched.close();
  });

  test('a form fits a phone', async () => {
    const watched = await show('online', 'change/subscription?name=orders', { viewport: { width: 360, height: 740 } });
    await field(watched.page, 'namespaces').waitFor();
    await watched.page.getByText('All other settings').click();
    await watched.assertFitsWidth('a form');
    await watched.assertAccessible('a form on a phone');
    await watched.close();
  });

  test('where the file manages, nothing is offered that would be refused', async () => {
    const watched = await show('file', 'subscriptions/good');
    const { page } = watched;
    await page.getByText('managed by the file').waitFor();
    assert.equal(await page.getByRole('link', { name: 'Change', exact: true }).count(), 0);
    await page.goto(page.url().replace(/#.*/, '#/add/source'));
    await page.getByText(/Definitions are the file’s here/).waitFor();
    await page.goto(page.url().replace(/#.*/, '#/changes'));
    await page.getByText('Nothing has been changed online.').waitFor();
    await watched.assertAccessible('changes where the file manages');
    await watched.close();
  });
});
