/** The console in a real Chromium, between real servers: every page, what can be done there, in both schemes, by keyboard, on a phone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noChromium, WatchedPage } from './browser.ts';
import { illEngine, TOKEN, wellEngine } from './engines.ts';
import { enter, settled, useConsole } from './use-console.ts';

/** What is seen before anybody has waited for anything. */
const MOST_FIRST_BYTES = 100_000;

describe('the console', { skip: noChromium }, () => {
  const it = useConsole({
    well: async (servers) => wellEngine(servers, 'console_well'),
    ill: async (servers) => illEngine(servers, 'console_ill'),
  });
  const { show } = it;

  const PAGES: readonly (readonly [at: string, heading: RegExp])[] = [
    ['overview', /^Overview$/],
    ['sources', /^Sources$/],
    ['sources/shop', /shop$/],
    ['sources/spare', /spare$/],
    ['sinks', /^Sinks$/],
    ['sinks/rabbit', /rabbit$/],
    ['parked', /^Parked events$/],
    ['snapshots', /^Snapshots$/],
    ['events', /^Events live$/],
    ['checkpoint', /^Checkpoint$/],
    ['changes', /^Changes$/],
    ['add/subscription', /Add a subscription$/],
    ['subscriptions', /^Subscriptions$/],
    ['subscriptions/stuck', /stuck$/],
    ['health', /^Health$/],
    ['health/held-unroutable', /held-unroutable$/],
    ['nowhere', /^No such page$/],
  ];

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`each page is there, accessible, and quiet: ${colorScheme}`, async () => {
      const watched = await show('ill', 'overview', { colorScheme });
      for (const [at, heading] of PAGES) {
        await watched.page.goto(`${it.engines.ill.url}#/${at}`);
        await watched.page.getByRole('heading', { level: 1, name: heading }).waitFor();
        await settled(watched.page);
        await watched.assertAccessible(`${at}, ${colorScheme}`);
        watched.assertQuiet();
        await watched.picture(`${at.replaceAll('/', '-')}-${colorScheme}`);
      }
      await watched.close();
    });
  }

  test('each page fits a phone', async () => {
    const watched = await show('ill', 'overview', {
      viewport: { width: 360, height: 740 },
      hasTouch: true,
      isMobile: true,
    });
    for (const [at, heading] of PAGES) {
      await watched.page.goto(`${it.engines.ill.url}#/${at}`);
      await watched.page.getByRole('heading', { level: 1, name: heading }).waitFor();
      await settled(watched.page);
      await watched.assertFitsWidth(at);
      await watched.assertAccessible(`${at}, on a phone`);
      await watched.picture(`${at.replaceAll('/', '-')}-phone`);
    }
    await watched.close();
  });

  test('the first paint takes at most 100 KB, from this engine alone', async (t) => {
    const context = await it.browser.newContext();
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    let bytes = 0;
    session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
    await page.goto(it.engines.well.url);
    await page.getByText('Path of the data').waitFor();
    await page.locator('canvas').first().waitFor();
    t.diagnostic(`${bytes} bytes, charts and the first answers included`);
    assert.ok(bytes > 10_000 && bytes <= MOST_FIRST_BYTES, String(bytes));
    await context.close();
  });

  test('the overview draws the path of the data as it flows, and says that nothing holds it up', async () => {
    const watched = await show('well', '');
    const { page } = watched;
    await page.getByText('Nothing holds it up.').waitFor();
    const orders = page.locator('[data-node="subscription/orders"]');
    await orders.getByText(/^[1-9][\d.,]*( k)?\/s$/).waitFor();
    await page
      .locator('[data-node="source/shop"]')
      .getByText(/^[1-9][\d.,]*( k)?\/s$/)
      .waitFor();
    await page.locator('.flow path.moving').first().waitFor({ state: 'attached' });
    assert.equal(await page.getByRole('heading', { name: 'Needs attention' }).count(), 0);
    await page.locator('.legend b').first().waitFor();
    await page.waitForTimeout(8_000);
    await watched.picture('overview-well-light');
    watched.assertQuiet();
    await watched.close();
  });

  test('what needs attention is said, with what to do, and leads to the page of the code', async () => {
    const watched = await show('ill', 'overview');
    const { page } = watched;
    const attention = page.locator('.attention');
    await attention.getByText(/subscription "stuck": .*held, unroutable/).waitFor();
    await attention.getByText(/Bind a queue to the exchange/).waitFor();
    await attention.getByText('3 events parked').waitFor();
    await page.getByText(/The lanes of "stuck" are held, unroutable/).waitFor();
    await attention.getByRole('link', { name: 'held-unroutable' }).first().click();
    await page.getByRole('heading', { level: 1, name: /held-unroutable/ }).waitFor();
    // Whoever reads with the ears begins at the heading.
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1');
    await watched.close();
  });

  test('it asks for the token, says when it is wrong, and keeps it as long as the tab', async () => {
    const watched = await WatchedPage.open(it.browser, it.engines.ill.url);
    const { page } = watched;
    await page.getByRole('heading', { name: 'Token' }).waitFor();
    await watched.assertAccessible('asking for the token');
    assert.equal(await page.getByRole('button', { name: 'Go on' }).isDisabled(), true);
    await enter(page, 'not-the-token-at-all-123');
    await page.getByText('That is not the token.').waitFor();
    await enter(page, TOKEN);
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    assert.equal(await page.evaluate(() => Object.values(localStorage).join()), '');
    watched.assertQuiet();
    await watched.close();
  });

  test('a subscription is paused and resumed, by keyboard alone, once it was confirmed', async () => {
    const watched = await show('well', 'subscriptions');
    const { page } = watched;
    const pause = page.getByRole('button', { name: 'Pause audit' });
    await pause.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Pause audit?' });
    await dialog.waitFor();
    await watched.assertAccessible('asking whether to pause');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    // The focus is where it was.
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Pause audit');
    await page.keyboard.press('Enter');
    await dialog.getByRole('button', { name: 'Pause' }).focus();
    await page.keyboard.press('Enter');
    const resume = page.getByRole('button', { name: 'Resume audit' });
    await resume.waitFor();
    await page.getByRole('row', { name: /audit/ }).getByText('paused').waitFor();
    await resume.click();
    await page.getByRole('dialog', { name: 'Resume audit?' }).getByRole('button', { name: 'Resume' }).click();
    await pause.waitFor();
    watched.assertQuiet();
    await watched.close();
  });

  test('subscriptions are found by name and state; none found says so', async () => {
    const watched = await show('ill', 'subscriptions');
    const { page } = watched;
    const rows = page.locator('tbody tr');
    await rows.nth(2).waitFor();
    await page.getByLabel('Name').fill('STU');
    assert.equal(await rows.count(), 1);
    await page.getByLabel('Name').fill('xyz');
    await page.getByText('No subscription is like that.').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    assert.equal(await rows.count(), 3);
    await page.getByLabel('State').selectOption('held');
    await page.getByText('1 of 3').waitFor();
    await watched.close();
  });

  test('a subscription shows what holds which of its lanes, and its configuration without secrets', async () => {
    const watched = await show('ill', 'subscriptions/stuck');
    const { page } = watched;
    await page.getByText(/1 lane held for .*: /).waitFor();
    await page.getByLabel('Only held ones').check();
    await page.getByRole('region', { name: 'Lanes' }).getByRole('link', { name: 'held-unroutable' }).waitFor();
    assert.match(
      await page.getByRole('region', { name: 'Configuration of stuck' }).innerText(),
      /"exchange": "console_ill-nobody"/,
    );
    await page.goto(`${it.engines.ill.url}#/subscriptions/nobody`);
    await page.getByText(/There is no subscription "nobody"/i).waitFor();
    await watched.close();
  });

  test('an engine that is gone is told of, and what was seen stays; when it is back it goes on', async () => {
    const watched = await show('well', 'overview');
    const { page } = watched;
    await page.getByText('Nothing holds it up.').waitFor();
    await page.route('**/*', async (route) => route.abort());
    await page.getByText('The engine does not answer.').waitFor();
    await page.getByText(/What is shown is of 20/).waitFor();
    await watched.assertAccessible('the engine is gone');
    assert.equal(await page.locator('[data-node="source/shop"]').count(), 1);
    await page.unroute('**/*');
    await page.getByText('The engine does not answer.').waitFor({ state: 'detached' });
    await watched.close();
  });

  test('colours are the system’s until somebody chooses', async () => {
    const watched = await show('well', '', { colorScheme: 'light' });
    const { page } = watched;
    const background = async (): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    const dark = await background();
    assert.notEqual(light, dark);
    await page.getByLabel('Colours').selectOption('light');
    assert.equal(await background(), light);
    await page.reload();
    assert.equal(await background(), light);
    await watched.close();
  });

  test('nobody is asked while nobody looks', async () => {
    const watched = await show('well', '');
    const { page } = watched;
    await page.getByText('Nothing holds it up.').waitFor();
    let asked = 0;
    page.on('request', () => (asked += 1));
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    });
    await page.waitForTimeout(1_200);
    asked = 0;
    await page.waitForTimeout(2_500);
    assert.equal(asked, 0);
    await watched.close();
  });
});
