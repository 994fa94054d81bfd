/** Snapshots in the console: asked for, seen as they come, held up, gone on with, ended. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { noChromium } from './browser.ts';
import { snapshotEngine, TOKEN } from './engines.ts';
import { settled, useConsole } from './use-console.ts';

const DB = 'console_snapshots';
const DOCUMENTS = 5_200;

describe('snapshots in the console', { skip: noChromium }, () => {
  const { show, engines } = useConsole({ shop: async (servers) => snapshotEngine(servers, DB) });

  const add = async (page: Page): Promise<Locator> => {
    await page.getByRole('button', { name: 'Add a snapshot' }).click();
    return page.getByRole('dialog', { name: 'Add a snapshot' });
  };
  const delivered = async (row: Locator): Promise<number> =>
    Number(await row.getByRole('progressbar').getAttribute('value'));

  test('what the engine refuses is said at its field or as an alert, and nothing is added', async () => {
    const watched = await show('shop', 'snapshots');
    const { page } = watched;
    await page.getByText('There is none.').waitFor();
    await watched.assertAccessible('no snapshot');
    const dialog = await add(page);
    const field = (name: string): Locator => dialog.getByRole('textbox', { name });
    const done = dialog.getByRole('button', { name: 'Add', exact: true });
    // One that reads a change stream is not offered.
    const whose = dialog.getByLabel(/^subscription/);
    assert.deepEqual(await whose.locator('option').allInnerTexts(), ['–', 'orders', 'returns']);
    await watched.assertAccessible('an empty form');
    await done.click();
    await dialog.locator('#field-subscription-fault').getByText('the name of a subscription').waitFor();
    await whose.selectOption('orders');
    await dialog.locator('#field-subscription-fault').getByText('the name').waitFor({ state: 'detached' });
    for (const filter of ['{"status": ', '["open"]', '7']) {
      await field('filter').fill(filter);
      await done.click();
      await dialog.locator('#field-filter-fault').getByText('a query as a JSON object').waitFor();
      assert.equal(await field('filter').getAttribute('aria-invalid'), 'true');
    }
    await watched.assertAccessible('a form with a fault');
    await watched.picture('snapshot-fault');
    await field('filter').fill('{"$where_": 1}');
    await done.click();
    await dialog.getByRole('alert').getByText('MongoDB does not take the filter for a query').waitFor();
    await field('filter').fill('');
    await field('namespaces').fill(`${DB}.orderz\nelsewhere.*`);
    await done.click();
    await dialog.getByRole('alert').getByText(`matches ${DB}.orderz, elsewhere.*`).waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await page.getByText('There is none.').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('one of a whole subscription is seen as it comes, paused and resumed, by keyboard alone', async () => {
    const watched = await show('shop', 'snapshots');
    const { page } = watched;
    const dialog = await add(page);
    await dialog.getByLabel(/^subscription/).selectOption('orders');
    await dialog.getByRole('button', { name: 'Add', exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
    const row = page.getByRole('row', { name: /^orders\./ });
    await row.getByText(/^[\d,]+ documents of about 5,200 · \d+\/s · .* left/).waitFor();
    const bar = row.getByRole('progressbar', { name: /^Progress of orders\./ });
    assert.equal(await bar.getAttribute('max'), String(DOCUMENTS));
    await row.getByText(`reading ${DB}.orders`).waitFor();
    const first = await delivered(row);
    await page.waitForTimeout(3_000);
    assert.ok((await delivered(row)) > first, 'it does not go on');
    await watched.assertAccessible('a snapshot that goes on');
    await watched.picture('snapshots-going-light');

    await row.getByRole('button', { name: 'Pause' }).focus();
    await page.keyboard.press('Enter');
    await row.getByText('paused', { exact: true }).waitFor();
    assert.match(await page.evaluate(() => document.activeElement?.textContent ?? ''), /^Resume orders\./);
    // What was under way is delivered still.
    await page.waitForTimeout(3_000);
    const held = await delivered(row);
    await page.waitForTimeout(3_000);
    assert.equal(await delivered(row), held);
    await watched.assertAccessible('a snapshot that is paused');
    await page.keyboard.press('Enter');
    await row.getByText('running', { exact: true }).waitFor();
    await page.waitForFunction((before) => document.querySelector('progress')!.value > before, held);
    watched.assertQuiet();
    await watched.close();
  });

  test('another one waits for its turn, and says for which; each is on the page of its subscription', async () => {
    const watched = await show('shop', 'subscriptions/orders', { colorScheme: 'dark' });
    const { page } = watched;
    const dialog = await add(page);
    assert.equal(await dialog.getByLabel(/^subscription/).count(), 0);
    await dialog.getByRole('textbox', { name: 'namespaces' }).fill(`${DB}.orders`);
    await dialog.getByRole('textbox', { name: 'filter' }).fill('{"status": "open"}');
    await dialog.getByRole('button', { name: 'Add', exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
    const row = page.getByRole('row').filter({ hasText: `${DB}.orders where {"status":"open"}` });
    await row.getByText('waiting', { exact: true }).waitFor();
    await row.getByText(/^Waits: orders\..* comes first\.$/).waitFor();
    await settled(page);
    await watched.assertAccessible('the snapshots of a subscription, dark');
    await watched.picture('snapshots-waiting-dark');
    await page.goto(`${engines.shop.url}#/subscriptions/returns`);
    await page.getByRole('button', { name: 'Add a snapshot' }).waitFor();
    assert.equal(await page.getByRole('heading', { name: 'Snapshots' }).count(), 0);
    await page.goto(`${engines.shop.url}#/subscriptions/streamed`);
    await page.getByText('Configuration', { exact: true }).waitFor();
    await settled(page);
    assert.equal(await page.getByRole('button', { name: 'Add a snapshot' }).count(), 0);
    watched.assertQuiet();
    await watched.close();
  });

  test('what is done already by somebody else is said, where it is not seen yet', async () => {
    const ask = async (path: string, body?: object): Promise<{ id: string }> => {
      const response = await fetch(new URL(`../api/v1/snapshots${path}`, engines.shop.url), {
        method: 'POST',
        headers: { Authorization: `Bearer ${TOKEN}`, ...(body && { 'Content-Type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      assert.ok(response.ok, await response.clone().text());
      return (await response.json()) as { id: string };
    };
    const { id } = await ask('', { subscription: 'orders', namespaces: [`${DB}.returns`] });
    const watched = await show('shop', 'snapshots');
    const { page } = watched;
    const pause = page.getByRole('button', { name: `Pause ${id}` });
    await pause.waitFor();
    await page.route('**/status', async (route) => route.abort());
    await page.getByText('The engine does not answer.').waitFor();
    await ask(`/${id}/cancel`);
    await pause.click();
    await page.getByRole('alert').getByText('That snapshot is over.').waitFor();
    await watched.assertAccessible('a refusal');
    await page.unroute('**/status');
    await page.getByText('2 going on, 1 over').waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('one is cancelled, once that was confirmed, and the next has its turn', async () => {
    const watched = await show('shop', 'snapshots', {
      viewport: { width: 360, height: 740 },
      hasTouch: true,
      isMobile: true,
    });
    const { page } = watched;
    const cancel = page.getByRole('button', { name: /^Cancel orders\./ }).first();
    await cancel.click();
    const dialog = page.getByRole('dialog', { name: /^Cancel orders\..*\?$/ });
    await dialog.getByText('What was delivered of it stays delivered').waitFor();
    await watched.assertFitsWidth('asking whether to cancel');
    await watched.assertAccessible('asking whether to cancel, on a phone');
    await watched.picture('snapshot-cancel-phone');
    await dialog.getByRole('button', { name: 'Keep it' }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.getByText('2 going on, 1 over').waitFor();
    await cancel.click();
    await dialog.getByRole('button', { name: 'End it' }).click();
    await page
      .getByRole('row', { name: /all that it follows/ })
      .getByText('cancelled')
      .waitFor();
    // The button is gone, and whoever reads with the ears is not nowhere.
    await page.waitForFunction(() => document.activeElement?.tagName === 'H1');
    await page.getByText('0 going on, 3 over').waitFor();
    const next = page.getByRole('row').filter({ hasText: '{"status":"open"}' });
    await next.getByText('done', { exact: true }).waitFor();
    await next.getByText(/^50 documents ?1 collection done, until 20/).waitFor();
    assert.equal(await page.getByRole('progressbar').count(), 0);
    await watched.assertFitsWidth('snapshots that are over');
    await watched.assertAccessible('snapshots that are over, on a phone');
    await watched.picture('snapshots-over-phone');
    watched.assertQuiet();
    await watched.close();
  });
});
