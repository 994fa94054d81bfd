/**
 * A real Chromium for the console's tests. Every page that it opens is watched: what it asks for, what it complains of, and what an
 * engine's answers weigh.
 */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { chromiumBinary } from '../servers/chromium-binary.ts';
import { ServersUnavailable } from '../servers/unavailable.ts';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
/** What the tests have seen, for people. */
export const PICTURES = fileURLToPath(new URL('../../test-results/console/', import.meta.url));

/** For one step of a test, on a machine that has much else to do. */
const TIMEOUT_MS = 20_000;

const found = await chromiumBinary((line) => console.log(line)).catch((error: unknown) => {
  if (error instanceof ServersUnavailable) return error;
  throw error;
});

/** Why there is no Chromium; undefined where there is. */
export const noChromium = found instanceof Error ? found.message : undefined;

export async function startBrowser(): Promise<Browser> {
  if (found instanceof Error) throw found;
  await mkdir(PICTURES, { recursive: true });
  // Root may not have its sandbox, and a container may have little shared memory.
  return chromium.launch({ executablePath: found, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

export class WatchedPage {
  readonly page: Page;
  readonly #hosts = new Set<string>();
  readonly #complaints: string[] = [];

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<WatchedPage> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
    // Before the page's own scripts, and past its policy: nothing is added to what it may do.
    await context.addInitScript({ path: AXE });
    const watched = new WatchedPage(await context.newPage());
    await watched.page.goto(url);
    return watched;
  }

  private constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(TIMEOUT_MS);
    page.on('request', (request) => this.#hosts.add(new URL(request.url()).host));
    page.on('pageerror', (error) => this.#complaints.push(String(error)));
    page.on('console', (message) => {
      // That an answer was no success is not the page's fault.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        this.#complaints.push(message.text());
      }
    });
  }

  /** Neither errors nor violations of its policy, and no other host was asked. */
  assertQuiet(): void {
    assert.deepEqual(this.#complaints, []);
    assert.deepEqual([...this.#hosts], [new URL(this.page.url()).host]);
  }

  async assertAccessible(what: string): Promise<void> {
    // Colours that are on their way into place are nobody's.
    await this.page.evaluate(async () =>
      Promise.all(document.getAnimations().map(async (one) => one.finish())).catch(() => {}),
    );
    const { violations } = await this.page.evaluate(async () =>
      (globalThis as unknown as { axe: typeof axe }).axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      }),
    );
    const told = violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('\n')}`,
    );
    assert.deepEqual(told, [], what);
  }

  /** Nothing of it is beyond the edge. */
  async assertFitsWidth(what: string): Promise<void> {
    const wide = await this.page.evaluate(() => document.documentElement.scrollWidth);
    // The window of a phone says that it is as wide as what is in it.
    const seen = this.page.viewportSize()?.width ?? 0;
    assert.ok(wide <= seen, `${what}: ${wide} px wide on ${seen}`);
  }

  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}
