/**
 * What a watcher is shown, as server-sent events. Invariants: nothing waits for the reader, and what it has not read yet is bounded: beyond
 * that events are left out, and it is told how many; one that reads nothing any more is let go; nothing stays behind it.
 */
import type { ServerResponse } from 'node:http';
import { withoutOwnSecrets } from '../config/known-secrets.ts';
import { shownJson } from '../observe/shown-json.ts';
import type { WatchedEvent, Watching, WatchReader } from '../watch/watchers.ts';

export const EVENT_STREAM = 'text/event-stream';

const MOST_UNREAD_BYTES = 256 * 1024;
const TICK_MS = 1_000;
/** So that proxies keep the connection, and a reader that is gone is noticed. */
const HEARTBEAT_MS = 15_000;
const PATIENCE_MS = 60_000;

export class EventStream implements WatchReader {
  readonly #response: ServerResponse;
  #watching: Watching | undefined;
  #ticks: NodeJS.Timeout | undefined;
  #wroteAt = performance.now();
  #stuckSince: number | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  get ready(): boolean {
    return this.#response.writableLength <= MOST_UNREAD_BYTES;
  }

  begin(watching: Watching): void {
    this.#watching = watching;
    this.#response.on('close', () => {
      clearInterval(this.#ticks);
      watching.stop();
    });
    // What a proxy gathers is not live.
    this.#response.writeHead(200, { 'Content-Type': EVENT_STREAM, 'X-Accel-Buffering': 'no' });
    this.#write(': watching\n\n');
    this.#ticks = setInterval(() => this.#tick(), TICK_MS);
  }

  show(events: readonly WatchedEvent[]): void {
    this.#write(events.map((event) => `data: ${eventJson(event)}\n\n`).join(''));
  }

  end(): void {
    this.#write('event: end\ndata: {}\n\n');
    this.#response.end();
    if (!this.ready) this.#response.destroy();
  }

  #tick(): void {
    const now = performance.now();
    if (!this.ready) {
      this.#stuckSince ??= now;
      if (now - this.#stuckSince >= PATIENCE_MS) this.#response.destroy();
      return;
    }
    this.#stuckSince = undefined;
    const leftOut = this.#watching!.takeLeftOut();
    if (leftOut.overRate + leftOut.slowReader > 0) this.#write(`event: skipped\ndata: ${JSON.stringify(leftOut)}\n\n`);
    else if (now - this.#wroteAt >= HEARTBEAT_MS) this.#write(':\n\n');
  }

  #write(text: string): void {
    this.#wroteAt = performance.now();
    this.#response.write(text);
  }
}

/** The event is JSON already, on one line: it is not read again. */
function eventJson(watched: WatchedEvent): string {
  const { subscription, partition, ns, operationType, id, routingKey, headers, bytes, held = null } = watched;
  const about = { subscription, partition, ns, operationType, id, routingKey, headers, bytes, held };
  const { text, whole } = watched;
  const beginning = whole || text === '' ? null : text;
  const front = shownJson({ ...about, beginning }, withoutOwnSecrets).slice(0, -1);
  return `${front},"event":${whole ? shownText(text) : 'null'}}`;
}

function shownText(json: string): string {
  if (withoutOwnSecrets(json) === json) return json;
  const event: unknown = JSON.parse(json);
  return shownJson(event, withoutOwnSecrets);
}
