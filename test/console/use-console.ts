/** A browser and the engines that a test file asks for, there from its first test to its last. */
import { after, before } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { useSharedServers } from '../servers/with-servers.ts';
import type { SharedServers } from '../servers/with-servers.ts';
import { startBrowser, WatchedPage } from './browser.ts';
import type { EngineUnderTest } from './engines.ts';

export interface ConsoleUnderTest<Name extends string> {
  readonly browser: Browser;
  readonly engines: Readonly<Record<Name, EngineUnderTest>>;
  readonly servers: SharedServers;
  /** Opens a page of an engine; with its token, where it has one. */
  readonly show: (engine: Name, at: string, options?: Parameters<typeof WatchedPage.open>[2]) => Promise<WatchedPage>;
}

export function useConsole<Name extends string>(
  start: Readonly<Record<Name, (servers: SharedServers) => Promise<EngineUnderTest>>>,
): ConsoleUnderTest<Name> {
  const engines = {} as Record<Name, EngineUnderTest>;
  let browser: Browser;
  // Before the servers' own, which end what this needs.
  after(async () => {
    await browser?.close();
    for (const engine of Object.values<EngineUnderTest>(engines)) await engine[Symbol.asyncDispose]();
  });
  const servers = useSharedServers();
  before(async () => {
    browser = await startBrowser();
    for (const name of Object.keys(start) as Name[]) engines[name] = await start[name](servers);
  });
  return {
    engines,
    servers,
    get browser() {
      return browser;
    },
    show: async (name, at, options = {}) => {
      const { url, token } = engines[name];
      const watched = await WatchedPage.open(browser, `${url}#/${at}`, options);
      if (token !== undefined) await enter(watched.page, token);
      return watched;
    },
  };
}

export async function enter(page: Page, token: string): Promise<void> {
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.getByRole('button', { name: 'Go on' }).click();
}

/** What is asked for has come. */
export async function settled(page: Page): Promise<void> {
  await page.locator('.loading').first().waitFor({ state: 'detached' });
  // What follows from it, and motion.
  await page.waitForTimeout(300);
}
