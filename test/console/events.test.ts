/** The live view of events: what comes, narrowed, paused, looked into; and how its stream is read. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventReader } from '../../console/src/ui/event-reader.ts';
import { noChromium } from './browser.ts';
import { wellEngine } from './engines.ts';
import { useConsole } from './use-console.ts';

const DB = 'console_events';

test('a stream is read the same wherever it is cut; comments and names are told apart', () => {
  const text = ': watching\n\ndata: {"a":1}\n\nevent: skipped\ndata: {"n":2}\n\n:\n\ndata: x\ndata: y\n\n';
  const whole = new EventReader().take(text);
  assert.deepEqual(whole, [
    { event: '', data: '{"a":1}' },
    { event: 'skipped', data: '{"n":2}' },
    { event: '', data: 'x\ny' },
  ]);
  for (let size = 1; size < text.length; size++) {
    const reader = new EventReader();
    const parts = Array.from({ length: Math.ceil(text.length / size) }, (_, n) => text.slice(n * size, (n + 1) * size));
    assert.deepEqual(
      parts.flatMap((part) => reader.take(part)),
      whole,
      `cut each ${size}`,
    );
  }
});

describe('events live in the console', { skip: noChromium }, () => {
  const { show } = useConsole({ well: async (servers) => wellEngine(servers, DB) });

  test('they come as they are delivered, and one shows what is in it', async () => {
    const watched = await show('well', 'events');
    const { page } = watched;
    await page.locator('tbody tr').nth(20).waitFor();
    await page.getByText('Watching.').waitFor();
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    await page.locator('tbody th button').first().click();
    const content = page.getByRole('region', { name: 'Content of the event' });
    assert.match(await content.innerText(), /"operationType": "insert"/);
    await watched.assertAccessible('events with one open');
    await watched.picture('events-open-light');
    await page.setViewportSize({ width: 1120, height: 620 });
    await page.emulateMedia({ colorScheme: 'dark' });
    await watched.assertAccessible('events with one open, dark');
    await watched.picture('events-open-dark');
    await page.getByRole('button', { name: 'Close the event' }).click();
    await content.waitFor({ state: 'detached' });
    watched.assertQuiet();
    await watched.close();
  });

  test('pausing stops the view and what is asked; going on, and clearing, begin anew', async () => {
    const watched = await show('well', 'events');
    const { page } = watched;
    await page.locator('tbody tr').nth(5).waitFor();
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    await page.getByText(/^Paused\./).waitFor();
    const first = async (): Promise<string> => page.locator('tbody tr').first().innerText();
    const seen = await first();
    await page.waitForTimeout(1_500);
    assert.equal(await first(), seen);
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.getByText('Paused: nothing is asked for.').waitFor();
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.locator('tbody tr').nth(5).waitFor();
    await watched.close();
  });

  test('they are narrowed by subscription, namespace and operation, which a link keeps; a bad pattern is said', async () => {
    const watched = await show('well', `events?ns=${DB}.orders&subscription=audit`);
    const { page } = watched;
    await page.locator('tbody tr').nth(10).waitFor();
    const cells = async (column: number): Promise<string[]> =>
      page.locator(`tbody tr td:nth-child(${column})`).allInnerTexts();
    assert.deepEqual([...new Set(await cells(4))], [`${DB}.orders`]);
    assert.deepEqual([...new Set(await cells(5))], ['audit']);
    await page.getByLabel('Operation').selectOption('delete');
    await page.getByText(/Nothing that is like that has been delivered/).waitFor();
    assert.match(page.url(), /op=delete/);
    await page.getByLabel('Namespace').fill('!shop.*');
    await page.getByLabel('Namespace').blur();
    await page.getByRole('alert').getByText('query.ns').first().waitFor();
    await watched.assertAccessible('a bad pattern');
    watched.assertQuiet();
    await watched.close();
  });

  test('the view fits a phone', async () => {
    const watched = await show('well', 'events', { viewport: { width: 360, height: 740 } });
    const { page } = watched;
    await page.locator('tbody th button').nth(3).click();
    await watched.assertFitsWidth('events');
    await watched.assertAccessible('events on a phone');
    await watched.picture('events-open-phone');
    await watched.close();
  });
});
