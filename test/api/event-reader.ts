/** A reader of `GET /events`, as the console is one: `fetch`, with the token in a header. */
import assert from 'node:assert/strict';
import { until } from '../harness/engine-process.ts';
import type { ApiUnderTest } from './fixtures.ts';

export interface Shown {
  readonly subscription: string;
  readonly partition: number;
  readonly ns: string;
  readonly operationType: string;
  readonly id: string;
  readonly routingKey: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: number;
  readonly held: string | null;
  readonly beginning: string | null;
  readonly event: { readonly _id: string; readonly documentKey?: { readonly _id: unknown } } | null;
}

export class EventReader implements AsyncDisposable {
  readonly shown: Shown[] = [];
  readonly leftOut = { overRate: 0, slowReader: 0 };
  comments = 0;
  /** The engine has said so. */
  ended = false;
  /** The stream is over, however. */
  over = false;
  readonly #api: ApiUnderTest;
  readonly #stop = new AbortController();
  #reading: Promise<void> | undefined;

  static async open(api: ApiUnderTest, query = ''): Promise<EventReader> {
    const reader = new EventReader(api);
    const response = await fetch(`${api.base}/events?${query}`, {
      headers: api.authorization,
      signal: reader.#stop.signal,
    });
    assert.equal(response.status, 200, response.status === 200 ? '' : await response.text());
    assert.equal(response.headers.get('content-type'), 'text/event-stream');
    assert.equal(response.headers.get('cache-control'), 'no-store');
    reader.#reading = reader.#read(response.body!);
    // It watches from here on.
    await until('the first comment', () => reader.comments > 0);
    return reader;
  }

  private constructor(api: ApiUnderTest) {
    this.#api = api;
  }

  get events(): readonly Shown['event'][] {
    return this.shown.map(({ event }) => event);
  }

  async until(what: string, check: (shown: readonly Shown[]) => boolean, withinMs?: number): Promise<void> {
    await until(what, () => check(this.shown), withinMs).catch((error: unknown) => {
      throw new Error(`${String(error)}; shown: ${JSON.stringify(this.shown).slice(0, 2_000)}`, { cause: error });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let unread = '';
    try {
      for await (const chunk of body) {
        unread += decoder.decode(chunk, { stream: true });
        for (let end = unread.indexOf('\n\n'); end >= 0; end = unread.indexOf('\n\n')) {
          this.#take(unread.slice(0, end));
          unread = unread.slice(end + 2);
        }
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    } finally {
      this.over = true;
    }
  }

  #take(message: string): void {
    if (message.startsWith(':')) {
      this.comments++;
      return;
    }
    const { name = '', data = '' } = /^(?:event: (?<name>\w+)\n)?data: (?<data>[^\n]*)$/.exec(message)?.groups ?? {};
    const told: unknown = JSON.parse(data);
    if (name === '') {
      this.#api.assertSchema('WatchedEvent', told);
      this.shown.push(told as Shown);
    } else if (name === 'skipped') {
      const { overRate, slowReader } = told as EventReader['leftOut'];
      this.leftOut.overRate += overRate;
      this.leftOut.slowReader += slowReader;
    } else {
      assert.equal(name, 'end');
      this.ended = true;
    }
  }
}
