/** Parked events in the console: found, looked into, tried, and given up. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noChromium } from './browser.ts';
import { illEngine } from './engines.ts';
import { settled, useConsole } from './use-console.ts';

describe('parked events in the console', { skip: noChromium }, () => {
  const { show } = useConsole({ ill: async (servers) => illEngine(servers, 'console_parked') });

  test('they are narrowed by what is chosen, which a link keeps; bad input is said', async () => {
    const watched = await show('ill', 'parked');
    const { page } = watched;
    const rows = page.locator('tbody tr');
    await rows.nth(2).waitFor();
    assert.equal(await rows.count(), 3);
    await page.getByLabel('Reason').selectOption('unroutable');
    await page.getByText('No parked event is like that.').waitFor();
    assert.match(page.url(), /reason=unroutable/);
    await page.reload();
    await page.getByText('No parked event is like that.').waitFor();
    await page.getByRole('link', { name: 'Show all' }).click();
    await rows.nth(2).waitFor();
    await page.getByLabel('Since').fill('yesterday');
    await page.getByLabel('Since').blur();
    await page.getByRole('alert').getByText('query.since').first().waitFor();
    await watched.assertAccessible('a bad filter');
    watched.assertQuiet();
    await watched.close();
  });

  test('one shows what is in it, as text whatever it is, and nothing that its subscription hides', async () => {
    const watched = await show('ill', 'parked');
    const { page } = watched;
    await page.locator('tbody tr').first().getByRole('button').click();
    const dialog = page.getByRole('dialog', { name: 'A parked event' });
    const content = await dialog.getByRole('region', { name: 'Content' }).innerText();
    assert.match(content, /"name": "<b>1<\/b>"/);
    assert.doesNotMatch(content, /PRIVATE/);
    await settled(page);
    await watched.assertAccessible('a parked event');
    await watched.picture('parked-inside');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    watched.assertQuiet();
    await watched.close();
  });

  test('a replay says beforehand what would become of them, and is not offered where nothing would', async () => {
    const watched = await show('ill', 'parked');
    const { page } = watched;
    await page.getByRole('button', { name: 'Replay these' }).click();
    const dialog = page.getByRole('dialog', { name: 'Replay parked events?' });
    await dialog.getByText('0 events would be delivered').waitFor();
    await dialog.getByText(/3 for missing-field/).waitFor();
    assert.equal(await dialog.getByRole('button', { name: 'Replay' }).isDisabled(), true);
    await watched.assertAccessible('a trial of a replay');
    await watched.close();
  });

  test('those that are chosen are dropped, once it was said how many', async () => {
    const watched = await show('ill', 'parked');
    const { page } = watched;
    await page.locator('tbody tr').first().getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Drop 1 chosen' }).click();
    const dialog = page.getByRole('dialog', { name: 'Drop parked events?' });
    await dialog.getByText('1 event would be given up').waitFor();
    await dialog.getByRole('button', { name: 'Drop for good' }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.getByText('2 events shown').waitFor();
    await page.getByRole('button', { name: 'Drop these' }).click();
    await page.getByRole('button', { name: 'Drop for good' }).click();
    await page.getByText('Nothing is parked.').waitFor();
    watched.assertQuiet();
    await watched.close();
  });
});
